"""Tuning is repeated in independent searches: each block is compared by the settings of one."""

import hashlib
import json
import math
from collections import defaultdict
from pathlib import Path

import pytest
from imagined_study import ImaginedStudy
from tuned_sweeps import IMAGES, own, plan, rates_by_search, score

from jobs.contract.trial import Trial
from orchestrator.progress.status import read_status
from orchestrator.results.conclude import StudyResults
from orchestrator.study.study import open_study
from orchestrator.study.tuning_rounds import Tuning
from orchestrator.sweep.search_space import TunedCandidate, search_root
from tracking.questions.analysis import Analysis

# Of a sweep with one workload before tuning could be repeated: a digest of the sorted ids.
EARLIER = {
    "search: sobol": "813666421e970d91",
    "search: optuna": "594b83ed5128bdae",
    "search: asha": "84ede076ac31e3cc",
    "seeds: 2": "6b3f69259b6bef40",
}


@pytest.mark.parametrize("how", EARLIER)
def test_the_first_search_of_a_workload_has_the_trials_of_the_only_one_of_early_versions(
    how: str, tmp_path: Path
) -> None:
    trials = plan(tmp_path, f"{IMAGES}tune: {{trials: 4, {how}}}\n")
    first = [one for one in trials if TunedCandidate.search_of(one.candidate) == 0]
    assert len(trials) == 3 * len(first)
    ids = " ".join(sorted(one.id for one in first))
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == EARLIER[how]
    alone = plan(tmp_path, f"{IMAGES}tune: {{trials: 4, repeats: 1, {how}}}\n")
    assert [one.to_json() for one in alone] == [one.to_json() for one in first]


def test_points_are_shared_by_candidates_and_by_nothing_else(tmp_path: Path) -> None:
    trials = plan(tmp_path, own(3))
    rates = rates_by_search(trials)
    assert set(rates) == {(w, s) for w in ("one", "two") for s in range(3)}
    assert all(of["left"] == of["right"] for of in rates.values())
    assert len({tuple(of["left"]) for of in rates.values()}) == 6
    seeds = defaultdict(set)
    for one in trials:
        place = one.workload.name, TunedCandidate.search_of(one.candidate)
        seeds[place].add(one.seeds["init"])
    assert [len(of) for of in seeds.values()] == [1] * 6  # a seed a setting, and one of its own
    assert len(set.union(*seeds.values())) == 6


def test_settings_are_named_by_search_and_number_and_both_are_read_back(tmp_path: Path) -> None:
    trials = plan(tmp_path, own(2, "seeds: 2, widen: 0"))
    left = [
        one for one in trials if (one.workload.name, one.candidate.declared) == ("one", "left")
    ]
    blocks = defaultdict(set)
    for one in left:
        blocks[one.candidate.name].add(one.block)
    assert blocks == {f"left#{n}": {0, 1} for n in range(1, 5)} | {
        f"left#2.{n}": {2, 3} for n in range(1, 5)
    }
    third = next(one.candidate for one in left if one.candidate.name == "left#2.3")
    assert (TunedCandidate.number_of(third), TunedCandidate.search_of(third)) == (3, 1)


def test_searches_may_be_numbered_from_a_later_one(tmp_path: Path) -> None:
    fresh = rates_by_search(plan(tmp_path, own("[5, 6]", "first_search: 5, widen: 0")))
    assert {search for _, search in fresh} == {5, 6}
    earlier = rates_by_search(plan(tmp_path, own(5)))
    assert not {tuple(of["left"]) for of in earlier.values()} & {
        tuple(of["left"]) for of in fresh.values()
    }


def test_more_seeds_move_no_block_to_another_search(tmp_path: Path) -> None:
    study = ImaginedStudy(tmp_path, own(3), score)
    study.run()
    before = {one.id for one in study.study.trials}
    study.edit(own(7))
    assert before < {one.id for one in study.study.trials}  # and two more searches
    study.run()
    lr = {
        (one.workload.name, one.candidate.name, one.block): one.candidate.hyperparameters["lr"]
        for one in study.study.trials
        if one.phase == "compare"
    }
    assert len(lr) == 2 * 2 * 7
    for (workload, candidate, block), rate in lr.items():
        assert rate == lr[workload, candidate, block % 5]
    assert len({rate for (workload, *_), rate in lr.items() if workload == "one"}) > 2


@pytest.mark.parametrize(
    ("seeds", "count"), [([0, 1, 5], 3), ([0, 1, 5, 7], 3), ([0, 3, 6], 2), ([7, 8, 9, 10, 11], 5)]
)
def test_a_list_of_seeds_has_as_many_searches_as_all_have_blocks(
    seeds: list[int], count: int, tmp_path: Path
) -> None:
    path = tmp_path / "listed.yaml"
    path.write_text(own(seeds))
    assert open_study(str(path), tmp_path).sweep.searches == count


def test_a_search_is_widened_alone_and_its_candidates_all_try_again(tmp_path: Path) -> None:
    def scored(trial: Trial) -> float:
        """In the second search on `one` the candidate `right` is best at the highest rate."""
        candidate = trial.candidate
        rate = math.log10(candidate.hyperparameters["lr"])
        name = candidate.declared, trial.workload.name
        if name == ("right", "one") and trial.phase == "tune" and "#2." in candidate.name:
            return 0.5 + 0.1 * rate
        return score(trial)

    study = ImaginedStudy(tmp_path, own(2, "widen: 1"), scored)
    first = study.end(lambda trial: trial.workload.name == "one")
    assert len(first) == 2 * 2 * 4
    study.decide()
    # One call has decided of both searches, and `two` is waited for by nobody.
    assert study.decisions == {"tuning-1", "winners"}
    tuning = Tuning.read(study.study.layout)
    (widened,) = tuning.widenings[0]["searches"]
    assert (widened["workload"], widened["search"], widened["round"]) == ("one", 1, 1)
    assert {one["candidate"] for one in tuning.widenings[0]["because"]} == {"right"}
    assert {(one["workload"], one["search"]) for one in tuning.winners[0]["chosen"]} == {
        ("one", 0)
    }
    states = read_status(study.study).planned.values()
    waiting = [one.outcome.trial for one in states if one.state == "waiting"]
    again = [one.candidate.name for one in waiting if one.phase == "tune"]
    expected = {f"{name}#2.{n}" for name in ("left", "right") for n in range(5, 9)}
    assert set(again) - expected == {
        f"{name}#{s}{n}" for name in ("left", "right") for s in ("", "2.") for n in range(1, 5)
    }
    assert expected <= set(again)
    # What was chosen is compared, however long the others take.
    compared = {(one.workload.name, one.block) for one in waiting if one.phase == "compare"}
    assert compared == {("one", 0)}
    study.run()
    assert study.decisions == {"tuning-1", "winners", "winners-2"}
    chosen = Tuning.read(study.study.layout).chosen.values()
    rounds = {(one["workload"], one["search"]): one["rounds"] for one in chosen}
    assert rounds == {("one", 0): 1, ("one", 1): 2, ("two", 0): 1, ("two", 1): 1}
    wide = {one["values"]["lr"] for one in chosen if one["candidate"] == "right"}
    assert 1 < max(wide) < 10


def test_later_searches_wait_for_their_look_and_are_spared_where_it_stops_before(
    tmp_path: Path,
) -> None:
    text = own("{looks: [3, 5]}").replace("right: {}", "right: {}, alike: {}")

    def scored(trial: Trial) -> float:
        better = 0.2 if trial.candidate.declared == "right" else 0.0
        return score(trial) / 2 + better + int(trial.id, 16) % 97 * 1e-4

    study = ImaginedStudy(tmp_path, text, scored)
    tried = list(read_status(study.study).planned.values())
    by_search = defaultdict(set)
    for one in tried:
        by_search[TunedCandidate.search_of(one.outcome.trial.candidate)].add(one.state)
    assert by_search == {
        0: {"waiting"},
        1: {"waiting"},
        2: {"waiting"},
        3: {"later"},
        4: {"later"},
    }
    study.end(lambda trial: TunedCandidate.search_of(trial.candidate) < 2)
    study.decide()
    assert study.decisions == {"winners"}
    # All that is planned of the comparison ends, and the look still waits for the third search.
    assert {one.block for one in study.end(lambda trial: trial.phase == "compare")} == {0, 1}
    study.decide()
    assert study.decisions == {"winners"}
    study.end()
    study.decide()
    study.end()
    study.decide()
    assert study.decisions == {"winners", "winners-2", "analysis", "look-1"}
    look = json.loads((study.study.layout.decisions / "look-1.json").read_text())
    assert look["open"] == [["alike", "left"]]
    later = [one for one in read_status(study.study).planned.values() if one.state == "spared"]
    assert {one.outcome.trial.candidate.declared for one in later} == {"right"}
    assert {TunedCandidate.search_of(one.outcome.trial.candidate) for one in later} == {3, 4}
    study.run()
    assert "look-2" in study.decisions
    saved = StudyResults.read(study.study).compare().saved
    assert saved is not None
    # Of `right`: two searches on two workloads, and on each the trial that would have compared the
    # settings which nobody has chosen; each of a second.
    assert (saved.trials, saved.unknown) == (2 * 2 * 4 + 2 * 2, 0)
    assert saved.hours * 3600 == pytest.approx(20)
    assert saved.of == len([one for one in study.study.trials if one.phase != "pilot"]) + 4
    blocks = defaultdict(set)
    for one in study.study.trials:
        if one.phase == "compare":
            blocks[one.candidate.name].add(one.block)
    assert blocks == {
        "left": {0, 1, 2, 3, 4},
        "alike": {0, 1, 2, 3, 4},
        "right": {0, 1, 2},
    }


def test_candidates_as_declared_wait_for_nobody_whom_a_look_has_stopped(tmp_path: Path) -> None:
    text = own("{looks: [3, 5]}", "widen: 0, untuned: [plain, other], allow_unequal: true")
    text = text.replace(
        "{left: {}, right: {}}", "{left: {}, plain: {lr: 0.01}, other: {lr: 0.02}}"
    )
    text = text.replace("baseline: left", "baseline: plain")

    def scored(trial: Trial) -> float:
        if trial.candidate.declared == "left":
            return 0.2 + trial.block * 1e-3
        return 0.7 + trial.seeds["noise"] % 97 * 1e-3 + trial.candidate.hyperparameters["lr"]

    study = ImaginedStudy(tmp_path, text, scored)
    waiting = list(study.end(lambda _: True))
    assert {one.phase for one in waiting} == {
        "tune"
    }  # no block begins before its search has ended
    study.run()
    look = json.loads((study.study.layout.decisions / "look-1.json").read_text())
    assert look["open"] == [["other", "plain"]]
    states = defaultdict(set)
    for one in read_status(study.study).planned.values():
        states[one.outcome.trial.candidate.declared].add(one.state)
    assert states == {
        "left": {"completed", "spared"},
        "plain": {"completed"},
        "other": {"completed"},
    }


def test_pilots_take_the_settings_of_the_searches_that_are_needed_anyway(tmp_path: Path) -> None:
    text = own("{looks: [2, 4]}") + "pilot: {seeds: 5}\n"
    study = ImaginedStudy(tmp_path, text, score)
    study.end(lambda trial: TunedCandidate.search_of(trial.candidate) == 0)
    study.decide()
    assert {one.phase for one in study.end(lambda trial: trial.phase == "pilot")} == {"pilot"}
    study.decide()
    assert study.decisions == {"winners"}  # pilots of the second search are still to come
    study.end()
    study.decide()
    study.end()
    study.decide()
    assert study.decisions == {"winners", "winners-2", "targets"}
    lr = {
        (one.workload.name, one.block): one.candidate.hyperparameters["lr"]
        for one in study.study.trials
        if one.phase == "pilot"
    }
    chosen = {
        (one["workload"], one["search"]): one["values"]["lr"]
        for one in Tuning.read(study.study.layout).chosen.values()
        if one["candidate"] == "left"
    }
    assert lr == {(w, block): chosen[w, block % 2] for w in ("one", "two") for block in range(5)}


def test_what_is_frozen_is_the_rule_and_winners_follow_it(tmp_path: Path) -> None:
    study = ImaginedStudy(tmp_path, own("{looks: [2, 4]}"), score)
    study.run()
    frozen = json.loads((study.study.layout.decisions / "analysis.json").read_text())["analysis"]
    assert frozen["tuning"]["repeats"] == 4
    assert set(frozen["tuning"]["candidates"]) == {"left", "right"}
    assert Analysis.from_json(frozen).to_json() == frozen


def test_trials_of_asha_compete_within_one_search_of_one_workload(tmp_path: Path) -> None:
    trials = plan(tmp_path, own(3, "widen: 0, search: asha"))
    rivals = defaultdict(set)
    for one in trials:
        assert one.rungs is not None
        place = (
            one.workload.name,
            TunedCandidate.search_of(one.candidate),
            one.candidate.declared,
        )
        rivals[one.rungs.competitors].add(place)
    assert len(rivals) == 2 * 3 * 2
    assert {len(of) for of in rivals.values()} == {1}


def test_optuna_suggests_for_each_search_by_its_own_results(tmp_path: Path) -> None:
    study = ImaginedStudy(tmp_path, own(2, "widen: 0, search: optuna"), score)
    study.end()
    study.decide()
    (record,) = Tuning.read(study.study.layout).suggestions
    places = [(one["workload"], one["search"], one["candidate"]) for one in record["settings"]]
    assert len(set(places)) == len(places) == 8
    values = {json.dumps(one["values"]) for one in record["settings"]}
    assert len(values) == 8
    study.run()
    assert study.decisions == {"suggested-1", "suggested-2", "winners"}
    names = {one.candidate.name for one in study.study.trials if one.phase == "tune"}
    assert {"left#4", "left#2.4"} <= names


def test_another_number_of_searches_is_refused_by_name_once_blocks_have_results(
    tmp_path: Path, thermolion
) -> None:
    text = own(6, "widen: 0, repeats: 3")
    study = ImaginedStudy(tmp_path, text, score)
    study.run()
    (last,) = {one.id for one in study.study.trials[-4:] if one.candidate.name == "left"} - {
        one.id for one in study.study.trials[-4:] if one.workload.name == "one"
    }
    assert "(chosen by search 2)" in thermolion("trial", last).out  # block 5 of three searches
    path = tmp_path / "edited.yaml"
    path.write_text(text.replace("repeats: 3", "repeats: 6"))
    said = thermolion("submit", path)
    assert said.code == 2
    assert "tune.repeats: 3 -> 6 (12 trials with results)" in said.err  # blocks 3, 4 and 5
    assert "candidates." not in said.err
    path.write_text(text.replace("repeats: 3", "repeats: 2"))
    said = thermolion("submit", path)
    assert said.code == 2
    assert "tune.repeats: 3 -> 2 (16 trials with results)" in said.err  # 2, 3, 4 and 5


def test_another_first_workload_is_refused_by_name_once_its_search_has_results(
    tmp_path: Path, thermolion
) -> None:
    study = ImaginedStudy(tmp_path, own(2), score)
    study.end()
    path = tmp_path / "edited.yaml"
    one, two = "  - {name: one, options: {at: 1}}\n", "  - {name: two, options: {at: 2}}\n"
    path.write_text(own(2).replace(one + two, two + one))
    said = thermolion("submit", path)
    assert said.code == 2
    assert "the first of `workloads`: one -> two (16 trials with results)" in said.err
    path.write_text(
        own(2).replace(two, two + two.replace("two", "three").replace("at: 2", "at: 3"))
    )
    assert json.loads(thermolion("plan", path, "--json").out)["orphaned"] == []


def test_roots_of_points_differ_for_every_search_and_workload() -> None:
    roots = [search_root(7, search, of) for search in range(5) for of in (None, "a", "b")]
    assert roots[0] == 7
    assert len(set(roots)) == 15
    assert search_root(8, 1, "a") != search_root(7, 1, "a")


def test_a_setting_that_training_fails_for_good_is_not_waited_for_unless_all_of_them_fail(
    tmp_path: Path,
) -> None:
    def some(trial: Trial) -> float | None:
        rate = trial.candidate.hyperparameters["lr"]
        return None if trial.phase == "tune" and rate > largest else score(trial)

    largest = 0.1
    study = ImaginedStudy(tmp_path, own(3), some)
    study.run()
    assert "failed" in study.states.values()
    chosen = study.study.tuning.chosen
    assert len(chosen) == 2 * 2 * 3
    assert all(one["values"]["lr"] <= largest for one in chosen.values())

    largest = 0.0
    (tmp_path / "all").mkdir()
    study = ImaginedStudy(tmp_path / "all", own(3), some)
    study.run()
    assert set(study.states.values()) == {"failed"}
    assert study.decisions == set()
