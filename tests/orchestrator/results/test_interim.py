"""Studies that look at growing numbers of seeds, and stop where the answer is in."""

import csv
import json
import time

import pyarrow.parquet
import pytest

from jobs.contract.layout import Layout
from orchestrator.study.stage import Stage
from tracking.questions.analysis import Analysis, content_hash

SWEEP = """\
study: looks
defaults: {model: {mlp: {hidden: [32]}}, epochs: 2, global_batch: 32, train_images: 512}
workloads: [{dataset: digits}]
candidates:
  good: {optimizer: adamw, lr: 3e-3}
CANDIDATES
baseline: good
seeds: {looks: [5, 8]}
"""
SLOW = "  slow: {optimizer: adamw, lr: 3e-4}"
TWIN = "  twin: {optimizer: adamw, lr: 3e-3, replica: 1}"
NOISY = """\
  noisy: {optimizer: thermolion}
  again: {optimizer: thermolion, replica: 1, noise_seed: 1}"""


@pytest.fixture
def sweep(tmp_path):
    def write(candidates=SLOW, **changes):
        text = SWEEP.replace("CANDIDATES", candidates)
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "looks.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "studies", "looks")


def decisions(layout):
    return {path.stem: json.loads(path.read_text()) for path in layout.decisions.glob("*.json")}


def test_a_planted_difference_is_decided_at_the_first_look_and_the_rest_is_spared(
    thermolion, sweep, layout
):
    planned = json.loads(thermolion("plan", sweep(), "--json").out)
    assert [trial["state"] for trial in planned["trials"]].count("later") == 6
    said = thermolion("run", sweep())
    assert said.code == 0, said.err
    found = json.loads(thermolion("compare", "looks", "--json").out)
    assert [one["verdict"] for one in found["pooled"]] == ["worse", "worse"]
    assert {one["look"] for one in found["ledger"]} == {1}
    assert found["saved"]["trials"] == 6
    assert found["saved"]["hours"] == pytest.approx(found["saved"]["spent_hours"] * 6 / 10)
    assert "6 trials spared" in said.err
    status = json.loads(thermolion("status", "looks", "--json").out)
    assert status["counts"] == {"completed": 10, "spared": 6}
    assert status["stage"]["next_look"] is None
    assert "Spared: 6 of 16 trials" in said.out
    made = decisions(layout)
    assert set(made) == {"analysis", "look-1"}
    assert made["look-1"]["analysis"] == made["analysis"]["hash"]
    assert made["look-1"]["go_on"] == []
    assert "nothing to send" in thermolion("submit", "looks").out
    assert decisions(layout) == made
    page = (layout.report / "report.html").read_text()
    assert made["analysis"]["hash"] in page
    assert "Spared: 6 of 16 trials" in page
    assert '<h2 id="hours">Hours</h2>' in page
    assert "spared by looks, about" in page
    hours = json.loads(thermolion("status", "looks", "--hours", "--json").out)
    assert hours["spared"]["cpu"] > 0
    assert hours["spent"]["cpu"] > 0
    assert hours["planned"]["cpu"] == 0
    text = (layout.report / "numbers" / "looks.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    table = pyarrow.parquet.read_table(layout.report / "numbers" / "looks.parquet")
    assert [float(row["p"]) for row in rows] == table.column("p").to_pylist()


def test_two_replicas_with_noise_of_their_own_are_told_apart_by_nobody(thermolion, sweep, layout):
    asked = ("baseline: good", "compare: {candidate: noisy, against: [again]}")
    said = thermolion("run", sweep(NOISY, compare=asked))
    assert said.code == 0, said.err
    found = json.loads(thermolion("compare", "looks", "--json").out)
    assert {one["verdict"] for one in found["pooled"]} <= {"undecided", "equivalent"}
    assert all(one["estimate"]["sd"] > 0 for one in found["pooled"])
    made = decisions(layout)
    assert made["look-1"]["open"] == [["noisy", "again"]]
    # Nothing is asked about the third candidate: it gets no seed after the first look.
    assert len(made["look-1"]["stopped"]) == 1
    counts = json.loads(thermolion("status", "looks", "--json").out)["counts"]
    assert counts == {"completed": 21, "spared": 3}


def test_a_study_goes_on_where_no_terminal_is_open(thermolion, sweep, layout):
    """Only candidates go on about which something is open: the pool of the first look sends it."""
    said = thermolion("submit", sweep(f"{SLOW}\n{TWIN}"))
    assert said.code == 0, said.err
    deadline = time.monotonic() + 300
    while "look-2" not in decisions(layout):
        assert time.monotonic() < deadline, (layout.submissions / "0001/pool.log").read_text()
        time.sleep(0.2)
    status = json.loads(thermolion("status", "looks", "--json").out)
    assert status["counts"] == {"completed": 21, "spared": 3}
    assert "undecided twin vs good" in "\n".join(status["stage"]["lines"])
    found = json.loads(thermolion("compare", "looks", "--json").out)
    assert found["incomplete"] == []
    slow = [one for one in found["pooled"] if one["question"]["candidate"] == "slow"]
    assert {one["estimate"]["n"] for one in slow} == {5}


def test_what_was_frozen_counts_and_every_deviation_is_listed(thermolion, sweep, layout):
    fixed = {"looks": ("seeds: {looks: [5, 8]}", "seeds: 3")}
    assert thermolion("run", sweep(**fixed)).code == 0
    frozen = decisions(layout)["analysis"]
    assert frozen["started"] == 0
    assert content_hash(frozen["analysis"]) == frozen["hash"]
    assert Analysis.from_json(frozen["analysis"]).hash == frozen["hash"]
    first = json.loads(thermolion("compare", "looks", "--json").out)
    assert first["registration"]["deviations"] == []
    edited = {
        "looks": (
            "seeds: {looks: [5, 8]}",
            "seeds: 4\nanalysis: {rope_pp: 5, alpha: 0.2, margins: {val_auc: 3}}",
        ),
        "name": ("  good:", "  other: {optimizer: adamw, lr: 1e-2}\n  good:"),
    }
    said = thermolion("run", sweep(**edited))
    assert said.code == 0, said.err
    found = json.loads(thermolion("compare", "looks", "--json").out)
    listed = "\n".join(found["registration"]["deviations"])
    assert "analysis.rope_pp is 5.0 by now; the frozen 0.2 counts" in listed
    assert "analysis.margins is val_auc 3 by now; the frozen none counts" in listed
    assert "analysis.alpha is 0.2 by now" in listed
    assert "candidate other was added after the freezing" in listed
    assert "seeds 3 were added after the freezing" in listed
    assert (found["rope_pp"], found["alpha"]) == (0.2, 0.05)
    answers = {(one["question"]["candidate"], one["endpoint"]): one for one in found["pooled"]}
    for one in first["pooled"]:
        same = answers["slow", one["endpoint"]]
        assert (same["estimate"], same["p_adjusted"]) == (one["estimate"], one["p_adjusted"])
    assert all("exploratory" in answers["other", e]["flags"] for _, e in answers)
    assert {one["estimate"]["n"] for one in found["later"]} == {4}
    assert "Deviation: seeds 3 were added" in said.out
    page = (layout.report / "report.html").read_text()
    assert "With all that was added later" in page
    assert decisions(layout)["analysis"] == frozen


def test_an_analysis_that_was_edited_by_hand_is_a_deviation(thermolion, sweep, layout):
    fixed = {"looks": ("seeds: {looks: [5, 8]}", "seeds: 2")}
    assert thermolion("run", sweep(**fixed)).code == 0
    path = layout.decisions / "analysis.json"
    path.write_text(path.read_text().replace('"rope_pp": 0.2', '"rope_pp": 9.0'))
    assert "analysis.json was edited" in thermolion("compare", "looks").out
    path.write_text("{")
    said = thermolion("status", "looks")
    assert (said.code, "is damaged" in said.err) == (1, True)


def test_the_plan_is_a_function_of_the_decisions(thermolion, sweep, layout):
    said = thermolion("run", sweep())
    assert said.code == 0, said.err
    (layout.decisions / "look-1.json").unlink()
    planned = json.loads(thermolion("plan", "looks", "--json").out)
    assert [trial["state"] for trial in planned["trials"]].count("later") == 6
    assert "the next `submit` or `run` decides" in thermolion("status", "looks").out
    assert thermolion("submit", "looks").code == 0
    assert Stage.read(layout, (5, 8), False).is_over
