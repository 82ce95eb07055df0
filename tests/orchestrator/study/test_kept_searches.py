"""What a study has of its searches stays: their number, points, spaces and winners."""

import json
from pathlib import Path
from typing import Any

import pytest
from imagined_study import ImaginedStudy
from tuned_sweeps import own, plan, score

from orchestrator.progress.status import read_status
from orchestrator.results.preregister import declare_analysis, freeze
from orchestrator.study.decisions import write_decision
from orchestrator.study.study import open_study
from tracking.questions.analysis import Analysis

EARLY = {
    "tuning-1": {"round": 1, "widened": {"KEY": [1e-4, 10.0]}, "because": []},
    "winners": {
        "rounds": 2,
        "trials": [],
        "chosen": [{"of": "OF", "key": "KEY", "setting": "left#5", "values": {"lr": 2.0}}],
    },
}


@pytest.mark.parametrize("more", [[0, 1, 5, 2, 3], [0, 1, 5, 7], 8])
def test_a_list_of_seeds_that_grows_moves_no_block_to_another_search(
    more: object, tmp_path: Path, thermolion: Any
) -> None:
    lab = ImaginedStudy(tmp_path, own([0, 1, 5]), score)
    lab.run()
    assert lab.study.sweep.searches == 3
    status = read_status(lab.study)
    assert freeze(lab.study, status.stage, status.outcomes)
    before = {one.id for one in lab.study.trials}
    path = tmp_path / "more.yaml"
    path.write_text(own(more))
    said = json.loads(thermolion("plan", path, "--root", lab.study.layout.root, "--json").out)
    assert said["orphaned"] == []
    assert before < {one["id"] for one in said["trials"]}
    assert {one["state"] for one in said["trials"] if one["phase"] == "tune"} == {"completed"}
    for one in (lab.study.name, path):
        kept = open_study(str(one), lab.study.layout.root).sweep
        assert kept.searches == 3
        assert "repeats" not in kept.document.data["tune"]


def test_decisions_of_early_versions_are_those_of_the_first_search(tmp_path: Path) -> None:
    path = tmp_path / "early.yaml"
    path.write_text(own(2, "widen: 1, repeats: 1"))
    study = open_study(str(path), tmp_path / "studies")
    left = study.sweep.candidates[0]
    run = study.sweep.search_runs[0]
    study.layout.decisions.mkdir(parents=True)
    for name, record in EARLY.items():
        text = json.dumps({"version": 1, "kind": name, "inputs": ""} | record)
        text = text.replace("OF", run.of).replace("KEY", left.key)
        (study.layout.decisions / f"{name}.json").write_text(text)
    trials = study.trials
    left_on_one = [t for t in trials if (t.candidate.declared, t.workload.name) == ("left", "one")]
    assert {
        t.block: t.candidate.hyperparameters["lr"] for t in left_on_one if t.phase == "compare"
    } == {
        0: 2.0,
        1: 2.0,
    }
    rates = [t.candidate.hyperparameters["lr"] for t in left_on_one if t.phase == "tune"]
    assert len(rates) == 8
    frozen = declare_analysis(study, {}).to_json() | {"tuned": {"one": {"left": {"lr": 2.0}}}}
    chosen = {"repeats": 1, "chosen": {"one": {"left": {"lr": 2.0}}}}
    assert Analysis.from_json(frozen).tuning == chosen


def test_a_study_tuned_before_searches_were_repeated_keeps_points_and_winners(
    tmp_path: Path, thermolion: Any
) -> None:
    lab = ImaginedStudy(tmp_path, own(seeds=5), score)
    layout = lab.study.layout
    # What the early version wrote has no number of a search. Nothing is frozen yet.
    early = {"of": "another", "key": "another", "values": {"lr": 0.1}}
    write_decision(layout, "winners", "winners", inputs="", trials=[], chosen=[early])
    lab.edit(own(seeds=5))
    tuned = [one for one in lab.study.trials if one.phase == "tune"]
    assert len(tuned) == 16
    # As that version has named them: all workloads have the same points.
    assert {
        one.id: one.candidate.hyperparameters["lr"]
        for one in tuned
        if (one.workload.name, one.candidate.declared) == ("two", "left")
    } == {
        "cee12e7915396f7a": 0.0851742,
        "44cd10e6c509de28": 0.000851742,
        "08960312c6cd783e": 0.00851742,
        "7f9ef88abae0ac47": 0.851742,
    }
    lab.run()
    said = thermolion("plan", "imagined", "--root", layout.root).out
    assert "36 completed" in said
    assert "settings chosen by 16 trials" in said
    assert "not in this sweep" not in said
    more = thermolion("plan", "imagined", "--root", layout.root, "--set", "tune.repeats=1").out
    assert "36 completed" in more


def test_a_study_keeps_the_usual_space_that_it_began_with(tmp_path: Path) -> None:
    swapped = own(2).replace("left", "rmsprop").replace("right", "adamw")
    usual, early = (
        swapped.replace(', space: {"*": {lr: {log: [1e-4, 1]}}}', ""),
        "[3.16e-4, 0.316]",
    )
    assert usual != swapped
    space = f"space: {{rmsprop: {{lr: {{log: {early}}}}}}}"
    lab = ImaginedStudy(tmp_path, usual.replace("widen: 0", f"widen: 0, {space}"), score)
    lab.run()
    began = lab.states
    lab.edit(usual)
    assert lab.states == began
    assert set(began.values()) == {"completed"}
    (tmp_path / "new").mkdir()
    afresh = {one.id for one in plan(tmp_path / "new", usual)}
    assert len(afresh - began.keys()) == len(afresh) / 2  # those of rmsprop
