"""What the answers of a tuned study count: searches, in the study and across two of them."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
from imagined_study import ImaginedStudy

from jobs.contract.trial import Trial
from orchestrator.results.conclude import StudyResults
from orchestrator.results.cross_study import pair_studies
from orchestrator.results.preregister import declare_analysis
from orchestrator.study.decisions import write_decision
from orchestrator.sweep.document import SweepError

SWEEP = """\
study: NAME
workloads:
  - {name: one, train: "nobody:trains", metric: val, final_metric: test, unit: fraction, steps: 9}
candidates: {CANDIDATES}
baseline: BASELINE
seeds: 10
tune: {trials: 2, widen: 0, REST, space: {"*": {lr: {log: [1e-3, 1e-1]}}}}
"""


def _score(trial: Trial) -> float:
    luck = abs(math.log10(trial.candidate.hyperparameters["lr"]) + 2) / 100
    gain = 0.1 if trial.candidate.declared == "left" else 0.0
    noise = zlib.crc32(f"{trial.candidate.declared} {trial.seeds['init']}".encode()) % 1000
    return 0.7 + gain - luck + noise / 1e5


def _study(folder: Path, name: str = "s", rest: str = "seeds: 1", **changes: str) -> ImaginedStudy:
    text = SWEEP.replace("NAME", name).replace("REST", rest)
    names = {"CANDIDATES": "left: {}, right: {}", "BASELINE": "right"} | changes
    for old, new in names.items():
        text = text.replace(old, new)
    made = ImaginedStudy(folder / f"{name} {rest}", text, _score)
    made.run()
    return made


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("s", "t"):
        for rest in ("seeds: 1", "repeats: 1", "repeats: 2", "repeats: 4", "repeats: 5"):
            (tmp_path / f"{name} {rest}").mkdir()


@pytest.mark.parametrize(("rest", "n"), [("seeds: 1", 5), ("repeats: 2", 2), ("repeats: 1", 10)])
def test_a_tuned_study_counts_its_searches(tmp_path: Path, rest: str, n: int) -> None:
    found = StudyResults.read(_study(tmp_path, rest=rest).study).compare()
    assert {one.estimate.n for one in found.pooled} == {n}
    assert {one.verdict for one in found.pooled} == {"undecided" if n == 2 else "better"}
    assert found.units.names_settings == (n == 10)
    assert {one.components is None for one in found.pooled} == {n == 10}
    assert not found.any_open
    assert found.exploratory  # nobody has frozen its analysis before these trials


def test_a_study_that_was_frozen_before_searches_were_repeated_keeps_its_one_search(
    tmp_path: Path, thermolion: Any
) -> None:
    layout = (made := _study(tmp_path, rest="repeats: 1")).study.layout
    analysis = dict(declare_analysis(made.study, {}).to_json())
    rule = analysis.pop("tuning")
    assert rule["repeats"] == 1
    analysis["tuned"] = {"one": {name: {"lr": 0.01} for name in rule["candidates"]}}
    frozen = {"hash": "0" * 64, "inputs": "0" * 64, "started": 0, "analysis": analysis}
    write_decision(layout, "analysis", "analysis", **frozen)
    layout.sweep.write_text(layout.sweep.read_text().replace("repeats: 1, ", ""))
    found = json.loads(thermolion("compare", "s", "--root", layout.root, "--json").out)
    assert {(one["verdict"], one["estimate"]["n"]) for one in found["pooled"]} == {("better", 10)}
    planned = thermolion("plan", "s", "--root", layout.root).out
    assert "24 completed" in planned
    assert "waiting" not in planned
    assert "exploration" not in planned
    more = thermolion("plan", "s", "--root", layout.root, "--set", "tune.repeats=5").out
    assert "tune.repeats: 1 -> 5 (16 trials with results)" in more


def test_two_studies_share_searches_or_are_refused(tmp_path: Path) -> None:
    first = _study(tmp_path, CANDIDATES="left: {}, other: {}", BASELINE="other").study
    same, crossed, once = (
        _study(tmp_path, "t", rest, CANDIDATES="right: {}, other: {}", BASELINE="other").study
        for rest in ("repeats: 5", "repeats: 4", "repeats: 1")
    )
    found = pair_studies(first, same).compare()
    assert {one.estimate.n for one in found.pooled} == {5}
    assert found.exploratory
    assert {one.estimate.n for one in pair_studies(first, once).compare().pooled} == {5}
    with pytest.raises(SweepError, match="5 searches in s and 4 searches in t"):
        pair_studies(first, crossed)
