"""What a plan says that all stages cost, and how that is measured."""

import re
from dataclasses import replace

import pytest
import tuned_sweeps
from imagined_study import ImaginedStudy
from sweep_text import sweep_text as _sweep

from orchestrator.study.price import Lanes, Pricing, measure_lanes
from orchestrator.study.stage import NO_STAGE
from orchestrator.study.trials import plan_trials
from orchestrator.study.tuning_rounds import NO_TUNING
from orchestrator.sweep.sweep import read_sweep
from tracking.history import AttemptSummary
from tracking.outcomes import Outcome

_PAIR = "candidates: {adamw: {}, lion: {}}\nbaseline: adamw"
_SENT = 1_000_000  # ms


def _stages(found):
    return {one["name"]: one for one in found["price"]["stages"]}


def test_every_stage_of_a_study_has_its_trials_and_its_time(thermolion, tmp_path, planned):
    keys = {
        "tune": "tune: {trials: 4, repeats: 1, widen: 2}",
        "pilot": "pilot: {seeds: 6}",
        "seeds": "seeds: {looks: [3, 5, 8]}",
    }
    found = planned(_sweep(_PAIR, **keys))
    stages = _stages(found)
    trials = {name: one["trials"] for name, one in stages.items()}
    assert trials == {
        "tuning": 2 * 4,
        "widening": 2 * 2 * 4,
        "pilots": 6,
        "comparison": 2 * 3,
        "looks 2 to 3 add": 2 * 5,
    }
    assert stages["widening"]["at_most"]
    whole = found["price"]["in_all"]
    assert whole["seconds"] == pytest.approx(sum(one["seconds"] for one in stages.values()))
    assert whole["trials"] == 46
    assert found["estimated_seconds"] == whole["seconds"]
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert "time       widening: 16 trials, at most" in said
    assert "time       in all: 46 trials, at most" in said
    assert "core hours" in said


def test_hours_are_those_of_gpus_if_there_are_any(planned):
    gpus = {"resources": "resources: {gpus_per_node: 1}"}
    assert planned(_sweep(_PAIR))["price"]["unit"] == "core hours"
    assert planned(_sweep(_PAIR, **gpus))["price"]["unit"] == "GPU hours"


def test_a_training_of_ones_own_costs_nobody_knows_what_until_a_trial_has_ended(
    thermolion, tmp_path
):
    path = tmp_path / "sweep.yaml"
    own = "workloads: [{train: 'lab:train', metric: loss, goal: min, name: mine}]"
    path.write_text(_sweep(_PAIR, workloads=own, seeds="seeds: 5"))
    said = thermolion("plan", path).out
    assert "time       not known before a trial of workload mine has ended\n" in said


_BOTH = "trials of workloads one and two have"
_TWO = "a trial of workload two has"
_FULL = "trials of workloads one at full size and two at full size have"
_KNOWN = " (what is known is by the trials that have ended)"


@pytest.mark.parametrize(
    ("rest", "ended", "said"),
    [
        (
            "",
            "",
            ["tuning: 48 trials, ?", "comparison: 12 trials, ?", "in all: 60 trials, ?", _BOTH],
        ),
        (
            "",
            "one",
            ["tuning: 24 trials, ?", "comparison: 12 trials, ?", "in all: 36 trials, ?", _TWO],
        ),
        (", proxy: {steps: 3}", "one two", ["?", _FULL]),
        (
            ", proxy: {steps: 3}",
            "left",
            [
                "tuning: 24 trials, about …",
                "comparison: 12 trials, ?",
                f"in all: 36 trials, ?{_KNOWN}",
                _FULL,
            ],
        ),
    ],
)
def test_what_is_not_known_is_said_once_and_by_the_workloads_that_it_waits_for(
    thermolion, tmp_path, rest, ended, said
):
    *lines, waits_for = said
    lab = ImaginedStudy(tmp_path, tuned_sweeps.own(rest=f"widen: 0{rest}"), lambda _: 0.5)
    lab.end(lambda one: {one.workload.name, one.candidate.declared} & set(ended.split()))
    lab.decide()
    found = thermolion("plan", "imagined", "--root", lab.study.layout.root).out
    told = [line for line in found.splitlines() if line.startswith("time ")]
    assert [re.sub(r"about .* hours", "about …", line) for line in told] == [
        f"time       {line.replace('?', f'not known before {waits_for} ended')}" for line in lines
    ]


def _sweep_file(tmp_path, workloads="workloads: [{dataset: digits, model: mlp, epochs: 1}]"):
    path = tmp_path / "sweep.yaml"
    path.write_text(_sweep(_PAIR, seeds="seeds: 6", workloads=workloads))
    return read_sweep(path)


def _ended(trial, lane, begin_s, end_s, images=None):
    log = f"0001-{lane}-0-0"
    attempt = AttemptSummary(log, None, None, None, 0, 0, "completed", 0, "", None)
    return Outcome(
        trial,
        state="completed",
        attempts=1,
        started_ms=_SENT + round(1000 * begin_s),
        ended_ms=_SENT + round(1000 * end_s),
        started={} if images is None else {"images": images},
        job={"submission": "0001", "pack": lane},
        attempt_log=(attempt,),
    )


def _price(sweep, outcomes, lanes):
    return Pricing(sweep, NO_STAGE, NO_TUNING, outcomes, lanes).price()


def test_measured_trials_starts_of_processes_and_packs_make_the_time(tmp_path):
    """Two lanes, four blocks left, a pack each: two rounds of a start and two trials."""
    sweep = _sweep_file(tmp_path)
    trials = plan_trials(sweep)
    took = {"adamw": 10, "lion": 20}
    outcomes, at = [], {0: 4.0, 1: 6.0}  # a process takes 4 or 6 s to its first trial
    for trial in trials:
        if trial.block < 2:
            seconds = took[trial.candidate.name]
            begin, at[trial.block] = at[trial.block], at[trial.block] + seconds
            outcomes.append(_ended(trial, trial.block, begin, at[trial.block]))
        else:
            outcomes.append(Outcome(trial))
    lanes = measure_lanes(Lanes(2, between_s=0.5), outcomes, {"0001": (_SENT, 2)})
    assert lanes.starts_s == pytest.approx(5)
    (comparison,) = _price(sweep, outcomes, lanes).stages
    assert (comparison.trials, comparison.measured, comparison.at_most) == (8, True, False)
    assert comparison.seconds == pytest.approx(2 * (5 + 30) + 0.5)
    assert comparison.hours == pytest.approx(4 * (5 + 30) / 3600)


def test_what_lies_between_two_trials_of_a_process_is_part_of_what_a_trial_takes(tmp_path):
    sweep = _sweep_file(tmp_path)
    first, second, *rest = plan_trials(sweep)
    outcomes = [_ended(first, 0, 1, 3), _ended(second, 0, 5, 9), *map(Outcome, rest)]
    lanes = Lanes(1, starts_s=0.0, between_s=0.0)
    (comparison,) = _price(sweep, outcomes, lanes).stages
    assert comparison.seconds == pytest.approx(5 * 2 + 5 * 6)


def test_the_images_that_a_trial_has_logged_replace_the_most_that_there_can_be(tmp_path):
    """Another model on the same data: nothing of it is measured, its data are known."""
    both = "workloads: {each: {model: [mlp, convnet]}, dataset: usps, epochs: 9}"
    sweep = _sweep_file(tmp_path, both)
    mlp = next(one for one in plan_trials(sweep) if one.workload.model == "mlp")
    lanes = Lanes(1, starts_s=0.0, between_s=0.0)
    waiting = [Outcome(one) for one in plan_trials(sweep)]
    before = _price(sweep, waiting, lanes).whole
    images = {"train": 900, "validation": 100, "test": 200}
    running = replace(_ended(mlp, 0, 1, 2, images), state="running", ended_ms=None)
    known = [running, *(one for one in waiting if one.trial.id != mlp.id)]
    after = _price(sweep, known, lanes).whole
    assert (before.at_most, after.at_most) == (True, False)
    assert after.seconds < before.seconds / 3


def test_a_stage_that_is_over_costs_nothing_more(tmp_path):
    sweep = _sweep_file(tmp_path)
    outcomes = [_ended(one, 0, 1, 2) for one in plan_trials(sweep)]
    assert _price(sweep, outcomes, Lanes(2)).stages == ()


def test_a_pause_of_the_user_is_no_part_of_what_lies_between_two_stages(tmp_path):
    first, second, *_ = plan_trials(_sweep_file(tmp_path))
    for pause_s, expected in ((8, 8.0), (4000, 2.0)):
        later = replace(_ended(second, 0, 30 + pause_s, 40 + pause_s), job={"submission": "0002"})
        sent = {"0001": (_SENT, 1), "0002": (_SENT + 1000 * (20 + pause_s), 1)}
        lanes = measure_lanes(Lanes(1, between_s=2.0), [_ended(first, 0, 5, 20), later], sent)
        assert lanes.between_s == pytest.approx(expected)


def test_looks_before_any_trial_do_not_say_that_all_have_ended(thermolion, tmp_path):
    path = tmp_path / "sweep.yaml"
    looks = "seeds: {looks: [3, 5]}"
    path.write_text(_sweep(_PAIR, seeds=looks, tune="tune: {trials: 4}"))
    said = thermolion("plan", path).out
    assert "look 1 of 2, at 3 seeds: none of its trials is planned yet" in said
    assert "all trials have ended" not in said
