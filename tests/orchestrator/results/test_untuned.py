"""Candidates that nobody tuned: who they are, and a command that tunes them."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import wait_for

from orchestrator.progress.status import read_status
from orchestrator.results.untuned import find_untuned
from orchestrator.study.study import open_study
from tracking.compare.tuning import Untuned

SWEEP = """\
study: plain
defaults: {model: mlp, epochs: 1, split: SPLIT}
workloads: [{dataset: digits}]
candidates: CANDIDATES
baseline: adamw
seeds: 2
"""

TRAIN = """\
def train(trial, context):
    for step in range(3):
        context.log(step, score=step * trial.candidate.hyperparameters["lr"])
"""
MINE = """\
study: mine
workloads: [{name: mine, train: "rates:train", metric: score, steps: 2}]
candidates: {fast: {optimizer: anything, lr: 0.4}, slow: {optimizer: anything, lr: 0.3}}
baseline: slow
seeds: 2
"""


@pytest.fixture
def untuned(tmp_path: Path) -> Callable[..., Untuned | None]:
    """Record a study and return what is to be said of its untuned candidates."""

    def record(candidates: str, tune: str = "", split: str = "fair") -> Untuned | None:
        path = tmp_path / "plain.yaml"
        text = SWEEP.replace("CANDIDATES", candidates).replace("SPLIT", split)
        path.write_text(text + tune)
        study = open_study(str(path), tmp_path / "studies")
        study.record()
        return find_untuned(study)

    return record


@pytest.fixture
def spaces(thermolion) -> Callable[[str], dict[str, list[float]]]:
    """Plan what a command would run; return the lowest and highest rate by tuned candidate."""

    def plan(command: str) -> dict[str, list[float]]:
        program, verb, *rest = shlex.split(command)
        assert (program, verb) == ("thermolion", "run")
        said = thermolion("plan", *rest, "--json")
        assert said.code == 0, said.err
        rates: dict[str, list[float]] = {}
        for trial in json.loads(said.out)["trials"]:
            if trial["phase"] == "tune":
                name = trial["labels"]["setting_of"]
                rates.setdefault(name, []).append(trial["candidate"]["hyperparameters"]["lr"])
        return {name: [min(some), max(some)] for name, some in rates.items()}

    return plan


def test_the_command_tunes_every_candidate_in_a_study_of_its_own(untuned, spaces, thermolion):
    untuned("{thermolion: {}, adamw: {lr: 2e-2, weight_decay: 0.1}}")
    found = json.loads(thermolion("compare", "plain", "--json").out)["untuned"]
    assert found["candidates"] == ["thermolion", "adamw"]
    assert found["rates"] == [["thermolion", 1e-3], ["adamw", 2e-2]]
    assert found["command"] == (
        "thermolion run plain --set study=plain-tuned --set 'tune={trials: 8}' "
        "--set 'candidates.adamw={weight_decay: 0.1}'"
    )
    assert set(spaces(found["command"])) == {"thermolion", "adamw"}


def test_of_a_study_with_an_answer_it_is_an_attempt_to_confirm_it(
    thermolion, spaces, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("rates.py").write_text(TRAIN)
    Path("mine.yaml").write_text(MINE)
    assert thermolion("submit", "mine.yaml").code == 0
    wait_for(lambda: read_status(open_study("mine")).jobs_alive == 0)
    found = json.loads(thermolion("compare", "mine", "--json").out)["untuned"]
    assert found["command"].startswith("thermolion run mine --confirm mine-tuned --set 'tune={")
    low, high = spaces(found["command"])["slow"]
    assert 0.3 / 32 < low < 0.3 < high < 0.3 * 32


def test_rates_of_an_unknown_optimizer_are_searched_around_the_one_declared(untuned, spaces):
    found = untuned('{adamw: {}, mine.v2: {optimizer: "lab:Lookahead", lr: 0.2, k: 5}}')
    low, high = spaces(found.command)["mine.v2"]
    assert 0.2 / 32 < low < 0.2 < high < 0.2 * 32


def test_a_candidate_that_was_left_out_of_the_search_joins_it(untuned, spaces):
    tune = "tune: {trials: {adamw: 4}, widen: 0, untuned: [lion], allow_unequal: true}"
    found = untuned("{adamw: {}, lion: {lr: 1e-4}}", tune)
    assert (found.candidates, found.rates) == (("lion",), (("lion", 1e-4),))
    assert set(spaces(found.command)) == {"adamw", "lion"}


def test_of_tuned_candidates_nothing_is_said(untuned):
    assert untuned("{adamw: {}, lion: {}}", "tune: {trials: 4}") is None


def test_candidates_that_differ_in_their_rate_alone_are_named_and_no_command_is(
    untuned, thermolion
):
    untuned("{a: {optimizer: adamw, lr: 1e-3}, adamw: {lr: 1e-2}}")
    found = json.loads(thermolion("compare", "plain", "--json").out)["untuned"]
    assert found["command"] is None
    assert found["obstacle"] == (
        "a and adamw differ in lr alone, so that with lr searched they are one candidate. Keep "
        "one of them to have it tuned"
    )
    found = untuned("{lion: {}, adamw: {}, a: {optimizer: adamw, lr: [2e-3, 1e-2]}}")
    assert found.obstacle.startswith("adamw and a[lr=0.002] and a[lr=0.01] differ in lr alone")


def test_a_grid_of_rates_is_searched_as_one_candidate(untuned, spaces):
    found = untuned("{adamw: {}, lion: {lr: [1e-4, 1e-3]}}")
    assert set(spaces(found.command)) == {"adamw", "lion"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("lr: {warmup: 3, peak: 0.4}", "lr of fast is {warmup: 3, peak: 0.4}, and a search tries"),
        ("speed: 0.4", "no lr of fast is declared, and what else its training takes is not"),
    ],
)
def test_what_no_range_is_known_of_has_a_reason_and_no_command(tmp_path, settings, why):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace("lr: 0.4", settings))
    found = find_untuned(open_study(str(path), tmp_path / "studies"))
    assert found.command is None
    assert found.obstacle.startswith(why)
    assert "`tune: {space: …}`" in found.obstacle


def test_what_cannot_be_tuned_has_a_reason_and_no_command(untuned):
    found = untuned("{adamw: {}, lion: {}}", split="replication")
    assert found.command is None
    assert found.obstacle.startswith("workload 'digits' has `split: replication`, which holds")
