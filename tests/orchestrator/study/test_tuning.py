"""Candidates are tuned with equal budgets on seeds of their own, and compared on fresh ones."""

import json
import math
import os
import signal
import sqlite3
from collections import Counter

import pytest
from processes import wait_for

from jobs.contract.layout import Layout
from jobs.contract.trial import block_seeds
from orchestrator.study.study import open_study
from tracking.outcomes import read_outcomes

# What is best on validation data is worst on test data, and on the seeds of the comparison, too:
# whoever looks at either chooses something else. The best rate of `far` lies beyond its space.
TRAINING = """\
import json, math, pathlib

COMPARED = json.loads((pathlib.Path(__file__).parent / "compared.json").read_text())
BEST = {"near": 1e-2, "far": 5.0, "more": 1e-2}

def train(trial, context):
    name = trial.candidate.setting_of or trial.candidate.name
    if name == "broken":
        raise RuntimeError("no such luck")
    lr = trial.candidate.hyperparameters["lr"]
    score = 1 / (1 + abs(math.log10(lr / BEST.get(name, 1e-2))))
    if context.seed("init") in COMPARED:
        score = 1 - score
    for step in (0, 1):
        context.log(step, val=score, test=1 - score)
"""
SWEEP = """\
study: tuned
workloads:
  - {name: mine, train: "my_tuning:train", metric: val, final_metric: test, unit: fraction}
candidates: {near: {}, far: {}}
baseline: near
seeds: 2
tune: {trials: 4, repeats: 1, seeds: 2, space: {"*": {lr: {log: [1e-4, 1]}}}}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with a training that knows the seeds of the comparison, and a sweep of it."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_tuning.py").write_text(TRAINING)
    path = folder / "tuned.yaml"
    path.write_text(SWEEP)
    monkeypatch.chdir(folder)
    (workload,) = open_study(str(path), tmp_path / "studies").sweep.workloads
    seeds = [block_seeds(0, "compare", workload, block)["init"] for block in range(2)]
    (folder / "compared.json").write_text(json.dumps(seeds))
    return path


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "studies", "tuned")


def decided(layout):
    return {path.stem: json.loads(path.read_text()) for path in layout.decisions.glob("*.json")}


def by_phase(layout):
    phases = {"tune": [], "compare": []}
    for one in read_outcomes(layout.events).values():
        phases[one.trial.phase].append(one)
    return phases


def test_equal_trials_choose_by_validation_on_other_seeds_and_are_widened_for_all(
    thermolion, lab, layout
):
    plan = thermolion("plan", lab).out
    assert "4 = 1 x 2 x 2 (workloads x candidates x seeds), and 16 of tuning" in plan
    assert "near: near(lr=0.0001 to 1, log)" in plan
    said = thermolion("run", lab)
    assert said.code == 0, said.err
    phases = by_phase(layout)
    tried, compared = phases["tune"], phases["compare"]
    settings = Counter(one.trial.candidate.setting_of for one in tried)
    assert settings == {"near": 2 * 2 * 4, "far": 2 * 2 * 4}  # seeds x rounds x trials
    rates = {
        name: {one.trial.candidate.hyperparameters["lr"] for one in tried if _is_of(one, name)}
        for name in settings
    }
    assert max(rates["near"]) < 1 < max(rates["far"]) < 10  # one decade, where the edge won
    seeds = [{s for one in them for s in one.trial.seeds.values()} for them in (tried, compared)]
    assert not seeds[0] & seeds[1]
    assert max(one.ended_ms for one in tried) <= min(one.started_ms for one in compared)
    chosen = {
        one.trial.candidate.name: one.trial.candidate.hyperparameters["lr"] for one in compared
    }
    for name, best in (("near", 1e-2), ("far", 5.0)):
        assert chosen[name] == min(rates[name], key=lambda lr: abs(math.log10(lr / best)))
    made = decided(layout)
    assert set(made) == {"tuning-1", "winners", "analysis"}
    assert {one["candidate"] for one in made["tuning-1"]["because"]} == {"far"}
    frozen = made["analysis"]
    assert frozen["started"] == 0
    rule = frozen["analysis"]["tuning"]
    assert (rule["repeats"], rule["widen"], set(rule["candidates"])) == (1, 1, {"near", "far"})
    assert rule["candidates"]["near"]["space"] == {"lr": {"log": [1e-4, 1]}}
    assert json.loads(thermolion("status", "tuned", "--json").out)["counts"] == {"completed": 36}
    assert "everything is done: 36 of 36 trials" in thermolion("run", lab).err
    assert decided(layout) == made
    _check_told(thermolion, layout, chosen)


def _check_told(thermolion, layout, chosen):
    found = json.loads(thermolion("compare", "tuned", "--json").out)
    assert found["registration"]["deviations"] == []
    assert {(one["candidate"], len(one["settings"])) for one in found["tuning"]["searched"]} == {
        ("near", 8),
        ("far", 8),
    }
    page = (layout.report / "report.html").read_text()
    assert "every tuned candidate had 8 settings tried" in page
    assert f"lr = {chosen['near']:.4g}" in page
    with sqlite3.connect(layout.mlflow_store) as store:
        rows = store.execute(
            "select t.value, p.value from tags t join tags p on t.run_uuid = p.run_uuid "
            "where t.key = 'thermolion.trial' and p.key = 'thermolion.phase'"
        ).fetchall()
        states = store.execute("select distinct status from runs").fetchall()
        above = store.execute(
            "select c.value, count(*) from tags p join tags c on c.run_uuid = p.value join tags t "
            "on t.run_uuid = p.run_uuid where p.key = 'mlflow.parentRunId' and c.key = "
            "'thermolion.candidate' and t.key = 'thermolion.setting_of' group by p.value"
        ).fetchall()
    assert Counter(phase for _, phase in rows) == {"tune": 32, "compare": 4}
    assert len({trial for trial, _ in rows}) == 36
    assert states == [("FINISHED",)]
    assert sorted(above) == [("far", 16), ("near", 16)]


def _is_of(outcome, name):
    return outcome.trial.candidate.setting_of == name


def test_a_study_killed_between_its_phases_goes_on_and_runs_nothing_twice(thermolion, lab, layout):
    text = SWEEP.replace("seeds: 2, space", "space") + "pilot: {seeds: 1}\n"
    lab.write_text(text.replace("\nseeds: 2", "\nseeds: {looks: [2, 3]}"))
    for decision in ("tuning-1", "winners", "targets"):
        said = thermolion("submit", lab)
        assert said.code == 0, said.err
        wait_for((layout.decisions / f"{decision}.json").exists, seconds=120)
        for record in layout.submissions.glob("*/pool.json"):
            try:
                os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue  # it had ended
    before = decided(layout)
    said = thermolion("run", lab)
    assert said.code == 0, said.err
    after = decided(layout)
    assert {name: after[name] for name in before} == before
    assert set(after) >= {"tuning-1", "winners", "targets", "analysis", "look-1"}
    ended = Counter(
        json.loads(line)["trial"]
        for log in layout.events.glob("*.jsonl")
        for line in log.read_text().splitlines()
        if '"type":"completed"' in line
    )
    counts = json.loads(thermolion("status", "tuned", "--json").out)["counts"]
    assert len(ended) == counts["completed"] == 16 + 1 + 6 - counts.get("spared", 0)
    assert set(ended.values()) == {1}
    (pilot,) = (o for o in read_outcomes(layout.events).values() if o.trial.phase == "pilot")
    chosen = {one["candidate"]: one["values"] for one in after["winners"]["chosen"]}
    assert pilot.trial.candidate.hyperparameters == chosen["near"]


def test_settings_are_held_and_retried_as_one_candidate(thermolion, lab):
    text = SWEEP.replace("far: {}", "broken: {}").replace("seeds: 2, space", "widen: 0, space")
    lab.write_text(text)
    said = thermolion("run", lab, "--lanes", 1)
    assert said.code == 1
    assert "nothing to compare yet: tuning has to choose" in said.err
    status = json.loads(thermolion("status", "tuned", "--json").out)
    assert status["counts"] == {"completed": 4, "failed": 3, "held": 1}
    assert "tuning first: 4 of 8 trials have ended" in status["stage"]["lines"][0]
    training = lab.parent / "my_tuning.py"
    training.write_text(TRAINING.replace('"broken"', '"mended"'))
    assert thermolion("retry", "tuned", "--candidate", "near").out.startswith("nothing to retry")
    said = thermolion("retry", "tuned", "--candidate", "broken")
    assert "4 trials" in said.out
    said = thermolion("run", "tuned")
    assert said.code == 0, said.err
    assert json.loads(thermolion("status", "tuned", "--json").out)["counts"] == {"completed": 12}


def test_an_untuned_candidate_is_compared_as_declared_by_the_code_of_the_first_submission(
    thermolion, lab, layout
):
    (lab.parent / "my_sgd.py").write_text("from torch.optim import SGD as Mine\n")
    lab.write_text(
        """\
study: tuned
defaults: {model: {mlp: {hidden: [8]}}, epochs: 1, global_batch: 32, train_images: 128}
workloads: [{dataset: digits}]
candidates:
  adamw: {}
  as_published: {optimizer: adamw}
  mine: {optimizer: "my_sgd:Mine", lr: 0.1}
baseline: adamw
seeds: 1
tune: {trials: 2, widen: 0, untuned: [as_published, mine], allow_unequal: true}
"""
    )
    planned = json.loads(thermolion("plan", lab, "--json").out)["trials"]
    assert Counter(one["state"] for one in planned) == {"waiting": 2, "later": 2}
    said = thermolion("submit", lab)
    assert said.code == 0, said.err
    (lab.parent / "my_sgd.py").unlink()  # what runs later was copied with the first
    wait_for(lambda: len(by_phase(layout)["compare"]) == 3, seconds=120)
    said = thermolion("run", "tuned")
    assert said.code == 0, said.err
    assert "unequal budgets (settings tried: adamw 2, as_published none, mine none)" in said.out
    compared = {one.trial.candidate.name: one.trial for one in by_phase(layout)["compare"]}
    assert compared["as_published"].candidate.hyperparameters["lr"] == 1e-3
    assert compared["adamw"].candidate.hyperparameters["lr"] != 1e-3


def test_tuned_studies_are_compared_with_each_other(thermolion, lab):
    text = SWEEP.replace("seeds: 2, space", "widen: 0, space").replace("trials: 4", "trials: 1")
    lab.write_text(text.replace(", far: {}", "").replace("baseline: near\n", ""))
    assert thermolion("run", lab).code == 0
    lab.write_text(
        text.replace("near: {}, far", "more")
        .replace("baseline: near\n", "")
        .replace("study: tuned", "study: other")
    )
    assert thermolion("run", lab).code == 0
    said = thermolion("compare", "tuned", "other", "--json")
    assert said.code == 0, said.err
    (pooled, _) = json.loads(said.out)["pooled"]
    assert pooled["question"] == {"candidate": "near", "baseline": "more"}
    assert pooled["estimate"]["n"] == 2


def test_a_later_candidate_is_tuned_as_much_and_what_was_chosen_stays(thermolion, lab, layout):
    lab.write_text(SWEEP.replace("seeds: 2, space", "space"))
    assert thermolion("run", lab).code == 0
    before = decided(layout)
    lab.write_text(lab.read_text().replace("far: {}", "far: {}, more: {}"))
    said = thermolion("run", lab)
    assert said.code == 0, said.err
    after = decided(layout)
    assert {name: after[name] for name in before} == before
    assert [one["candidate"] for one in after["winners-2"]["chosen"]] == ["more"]
    settings = Counter(one.trial.candidate.setting_of for one in by_phase(layout)["tune"])
    assert settings == {"near": 8, "far": 8, "more": 8}
    assert "candidate more was added after the freezing" in said.out


def test_tuning_may_use_fewer_ranks_at_the_same_global_batch(planned):
    text = """\
study: tuned
workloads: [{dataset: digits, model: mlp, epochs: 1, global_batch: 64}]
candidates: {thermolion: {}, adamw: {}}
resources: {tasks_per_node: 2}
seeds: 1
tune: {trials: 3, ranks: 1}
"""
    trials = planned(text)["trials"]
    assert {one["world_size"] for one in trials if one["phase"] == "tune"} == {1}
    assert {one["workload"]["global_batch"] for one in trials} == {64}
    rates = [
        sorted(one["candidate"]["hyperparameters"]["lr"] for one in trials if _named(one, name))
        for name in ("thermolion", "adamw")
    ]
    assert rates[0] == rates[1]  # the same points, in spaces that are equal
    assert min(rates[0]) >= 3.16e-5
    assert max(rates[0]) <= 3.16e-2
    more = planned(text.replace("trials: 3", "trials: 5"))["trials"]
    assert {one["id"] for one in trials} < {one["id"] for one in more}


def _named(trial, name):
    return trial["labels"]["setting_of"] == name
