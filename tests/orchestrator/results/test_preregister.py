"""What is frozen before a comparison, what may still change, and what is left for exploration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from jobs.contract.layout import Layout
from orchestrator.progress.status import read_status
from orchestrator.results.confirm import confirm_study, record_attempt
from orchestrator.study.study import Study, open_study
from orchestrator.sweep.document import SweepError

# A made-up training: the lr is the score, plus what the seed says. `gone` logs nothing and fails.
TRAIN = """\
import zlib
from pathlib import Path

def score(trial, context):
    context.log(0, score=0.0)
    if any(Path("BROKEN").glob(f"{trial.candidate.name}.broken")):
        raise RuntimeError("it can't be trained yet")
    noise = zlib.crc32(f"{context.seed('init')} {trial.candidate.name}".encode()) / 1e12
    for step in range(1, 8):
        context.log(step, score=trial.candidate.hyperparameters["lr"] * step / 7 + noise * step)
"""
SWEEP = """\
study: frozen
workloads: [{name: mine, TRAINING, metric: score, unit: fraction}]
candidates:
  base: {optimizer: sgd, lr: 0.1}
  fast: {optimizer: sgd, lr: 0.4}
  slow: {optimizer: sgd, lr: 0.3}
baseline: base
seeds: 5
"""
MENDED = 'train: "scores:score"'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the sweep with parts of it replaced, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.py").write_text(TRAIN.replace("BROKEN", str(tmp_path)))

    def write(*changes: tuple[str, str], training: str = MENDED) -> Path:
        text = SWEEP.replace("TRAINING", training)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "frozen.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def layout(layout: Layout) -> Layout:
    return Layout(layout.root, "frozen")


@pytest.fixture
def trained(thermolion: Any, layout: Layout) -> Callable[..., str]:
    """Send what is missing and wait for it: `run` without page and store, which take seconds."""

    def train(*arguments: object, of: str = "frozen") -> str:
        said = thermolion("submit", *arguments)
        assert said.code == 0, said.err
        study = open_study(of, layout.root)
        wait_for(lambda: read_status(study).jobs_alive == 0)
        return said.out + said.err

    return train


def decided(layout: Layout) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in layout.decisions.glob("*.json")}


def status_of(found: dict[str, Any]) -> dict[str, bool]:
    """Return, by candidate, if all of its answers are confirmatory."""
    return {
        name: all(
            "exploratory" not in one["flags"]
            for one in found["pooled"]
            if one["question"]["candidate"] == name
        )
        for name in {one["question"]["candidate"] for one in found["pooled"]}
    }


def test_a_typo_that_made_every_trial_fail_is_mended_and_the_comparison_is_confirmatory(
    thermolion, write, layout, trained
):
    trained(write(training='command: "python trian.py {lr} {seed}"'))
    assert "failed" in thermolion("status", "frozen").out
    assert set(decided(layout)) == {"analysis"}
    assert "this edit is frozen anew by the next `submit`" in thermolion("plan", write()).out
    trained("frozen.yaml")
    made = decided(layout)
    assert set(made) == {"analysis", "analysis-2"}
    assert made["analysis-2"]["analysis"]["workloads"] != made["analysis"]["analysis"]["workloads"]
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": True, "slow": True}
    assert [one["verdict"] for one in found["pooled"]] == ["better"] * 4
    registration = found["registration"]
    assert (registration["deviations"], registration["started"]) == ([], 0)
    assert registration["hash"] == made["analysis-2"]["hash"]
    files = [one["file"] for one in registration["versions"]]
    assert files == ["analysis.json", "analysis-2.json"]
    shown = thermolion("compare", "frozen").out
    assert f"sha256 {made['analysis-2']['hash'][:16]}" in shown
    assert f"sha256 {made['analysis']['hash']}" in shown
    assert thermolion("submit", "frozen").code == 0
    assert decided(layout) == made


def test_a_candidate_that_is_replaced_before_anything_was_measured_demotes_nothing(
    thermolion, write, trained, tmp_path
):
    broken = [tmp_path / f"{name}.broken" for name in ("base", "fast", "slow")]
    for path in broken:
        path.touch()
    trained(write())
    for path in broken:
        path.unlink()
    other = write(("slow: {optimizer: sgd, lr: 0.3}", "other: {optimizer: sgd, lr: 0.35}"))
    assert thermolion("retry", other).code == 0
    trained(other)
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": True, "other": True}
    assert (found["unanswered"], found["registration"]["deviations"]) == (0, [])


def test_a_candidate_that_is_replaced_later_is_explored_and_the_other_questions_stay(
    thermolion, write, layout, trained
):
    trained(write())
    first = json.loads(thermolion("compare", "frozen", "--json").out)
    other = write(("slow: {optimizer: sgd, lr: 0.3}", "other: {optimizer: sgd, lr: 0.35}"))
    trained(other)
    assert set(decided(layout)) == {"analysis"}
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": True, "other": False}
    assert found["unanswered"] == 2
    fast = [one for one in found["pooled"] if one["question"]["candidate"] == "fast"]
    assert fast == [one for one in first["pooled"] if one["question"]["candidate"] == "fast"]


def test_a_question_of_which_neither_arm_was_measured_may_be_replaced_by_another(
    thermolion, write, layout, trained, tmp_path
):
    for name in ("base", "slow"):
        (tmp_path / f"{name}.broken").touch()
    trained(write())
    for name in ("base", "slow"):
        (tmp_path / f"{name}.broken").unlink()
    trained(write(("lr: 0.1", "lr: 0.2"), ("lr: 0.3", "lr: 0.35")))
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": False, "slow": True}
    assert found["unanswered"] == 2
    assert decided(layout)["analysis-2"]["why"].startswith("neither arm")


def test_a_workload_that_is_edited_later_leaves_everything_for_exploration(
    thermolion, write, trained
):
    trained(write())
    trained(write(("unit: fraction", "unit: fraction, options: {more: 1}")), "--accept-change")
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": False, "slow": False}
    assert found["unanswered"] == 4
    assert {one["verdict"] for one in found["pooled"]} == {"better"}
    assert any("workload mine" in one for one in found["registration"]["deviations"])


def test_a_workload_that_is_added_later_with_the_seeds_of_another_would_not_count(
    thermolion, write, trained
):
    trained(write())
    ranks = (
        "unit: fraction}]",
        f"unit: fraction}}, {{name: two, {MENDED}, metric: score, ranks: 2}}]",
    )
    assert "for exploration only: workload two" in thermolion("plan", write(ranks)).out


def test_what_would_not_count_is_said_before_it_starts(thermolion, write, trained):
    trained(write())
    more = write(
        ("seeds: 5", "seeds: 8\nanalysis: {alpha: 0.1}"),
        ("  fast", "  other: {optimizer: sgd, lr: 0.2}\n  fast"),
    )
    planned = json.loads(thermolion("plan", more, "--json").out)
    foreseen = [
        "seeds 5-7",
        "other vs base",
        "analysis.alpha is 0.1 by now; the frozen 0.05 counts",
    ]
    assert planned["exploratory"] == foreseen
    for out in (thermolion("plan", more).out, trained(more)):
        assert f"for exploration only: {'; '.join(foreseen)}." in out
        assert "declare `seeds: {looks: [5, 8]}` from the start" in out
        assert "--confirm NEW_STUDY" in out
    found = json.loads(thermolion("compare", "frozen", "--json").out)
    assert status_of(found) == {"fast": True, "slow": True, "other": False}
    assert {one["estimate"]["n"] for one in found["pooled"]} == {5}
    assert json.loads(thermolion("plan", write(), "--json").out)["exploratory"] == []


def test_a_confirmation_has_fresh_seeds_and_half_the_level_of_the_one_before(
    thermolion, write, layout, trained
):
    trained(write(("seeds: 5", "seeds: [0, 1, 2, 3, 6]")))
    planned = json.loads(thermolion("plan", "frozen", "--confirm", "again", "--json").out)
    assert {one["block"] for one in planned["trials"]} == {7, 8, 9, 10, 11}
    assert planned["confirms"] == {"study": "frozen", "attempts": ["frozen"], "alpha": 0.025}
    assert not (layout.root / "again").exists()
    trained("frozen", "--confirm", "again", of="again")
    assert decided(layout)["confirmation-1"]["study"] == "again"
    found = json.loads(thermolion("compare", "again", "--json").out)
    assert found["alpha"] == 0.025
    assert found["trials"] == 15
    assert found["registration"]["analysis"]["confirms"] == ["frozen"]
    said = thermolion("compare", "again").out
    assert "asks the questions of frozen again" in said
    assert "this is number 1, at 0.025" in said
    # The same command goes on with it; a confirmation is itself confirmed as the next attempt.
    assert "nothing to send" in trained("frozen", "--confirm", "again", of="again")
    shifted = trained("again", "--confirm", "third", "--set", "seeds={looks: [5, 6]}", of="third")
    assert "15 trials" in shifted
    third = json.loads((layout.root / "third" / "decisions" / "analysis.json").read_text())
    assert third["analysis"]["alpha"] == 0.0125
    assert third["analysis"]["confirms"] == ["frozen", "again"]
    assert third["analysis"]["blocks"] == [12, 13, 14, 15, 16, 17]
    trained("third", of="third")
    look = json.loads((layout.root / "third" / "decisions" / "look-1.json").read_text())
    assert (look["seeds"], len(look["trials"])) == (5, 15)


def test_a_confirmation_that_is_killed_as_it_begins_is_taken_up_by_the_same_command(
    thermolion, write, layout, trained, monkeypatch
):
    trained(write())
    with monkeypatch.context() as killed:  # between the attempt that is counted and its sweep
        killed.setattr(Study, "record", lambda _: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            thermolion("submit", "frozen", "--confirm", "again")
    counted = decided(layout)["confirmation-1"]
    for verb in ("run", "plan", "status", "compare"):
        said = thermolion(verb, "again")
        assert said.code == 2
        assert "`thermolion run frozen --confirm again` goes on with it" in said.err
    trained("frozen", "--confirm", "again", of="again")
    assert decided(layout)["confirmation-1"] == counted
    assert "confirmation-2" not in decided(layout)
    frozen = decided(Layout(layout.root, "again"))["analysis"]["analysis"]
    assert (frozen["alpha"], frozen["blocks"]) == (0.025, [5, 6, 7, 8, 9])
    planned = json.loads(thermolion("plan", "frozen", "--confirm", "third", "--json").out)
    assert planned["confirms"]["alpha"] == 0.0125


def test_what_cannot_be_confirmed_is_refused_with_its_cause(thermolion, write, layout, trained):
    def refusal(*arguments):
        said = thermolion("submit", *arguments)
        assert said.code == 2, said.out
        return said.err

    assert "was never sent" in refusal(write(), "--confirm", "again")
    typo = write(training='command: "python trian.py {lr} {seed}"')
    trained(typo)
    assert "has a result yet" in refusal(typo, "--confirm", "again")
    path = write()
    trained(path)
    assert "this is the name of the one" in refusal(path, "--confirm", "frozen")
    assert "names a folder" in refusal(path, "--confirm", "a b")
    assert "neither a sweep file nor a study" in refusal("elsewhere", "--confirm", "again")
    assert "no question" in refusal(write(("baseline: base\n", "")), "--confirm", "again")
    trained(write(("study: frozen", "study: taken")), of="taken")
    assert "with another sweep" in refusal("frozen", "--confirm", "taken")
    assert {one.name for one in layout.root.iterdir() if one.is_dir()} == {"frozen", "taken"}
    assert not any(name.startswith("confirmation") for name in decided(layout))
    # Of two at the same time, which want the same seeds, the second one is refused.
    study = open_study("frozen", layout.root)
    soon, late = confirm_study(study, "soon"), confirm_study(study, "late")
    assert soon.sweep.keys.seeds == late.sweep.keys.seeds
    record_attempt(soon)
    with pytest.raises(SweepError, match="another one was sent meanwhile"):
        record_attempt(late)
    late = confirm_study(study, "late")
    assert late.sweep.keys.confirms.attempts == ("frozen", "soon")
    assert late.sweep.keys.seeds.blocks == (10, 11, 12, 13, 14)


def test_a_confirmation_of_a_tuned_study_searches_afresh(thermolion, write, layout, trained):
    tune = 'seeds: 5\ntune: {trials: 2, repeats: 2, widen: 0, space: {"*": {lr: {log: [0.1, 1]}}}}'
    fast, slow = ("lr: 0.4", "momentum: 0.1"), ("  slow: {optimizer: sgd, lr: 0.3}\n", "")
    path = write(("seeds: 5", tune), ("lr: 0.1", "momentum: 0.0"), fast, slow)
    trained(path)
    wait_for(lambda: read_status(open_study("frozen", layout.root)).done == 18)
    old, new = (
        json.loads(thermolion("plan", "frozen", *confirm, "--json").out)["trials"]
        for confirm in ((), ("--confirm", "again"))
    )
    searched = [[one for one in of if one["phase"] == "tune"] for of in (old, new)]
    assert [len(of) for of in searched] == [8, 8]
    settings = [{one["candidate"]["hyperparameters"]["lr"] for one in of} for of in searched]
    assert not settings[0] & settings[1]
    assert not {one["id"] for one in searched[0]} & {one["id"] for one in searched[1]}
