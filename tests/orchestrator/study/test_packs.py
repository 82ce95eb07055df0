"""Packs by time: enough work for a job, no more than its limit allows, blocks kept together."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from orchestrator.study.packs import PackSizing, make_sized_packs

WORKLOAD = ImageWorkload("digits", dataset="digits", model="mlp", epochs=1, global_batch=32)


def _trials(blocks: int, candidates: int) -> list[Trial]:
    return [
        Trial(
            WORKLOAD,
            Candidate(f"c{number}", "sgd", {"lr": 0.1 + number}),
            "compare",
            block,
            block_seeds(0, "compare", WORKLOAD, block),
        )
        for block, number in itertools.product(range(blocks), range(candidates))
    ]


def _measure(trials: list[Trial], seconds: float | None, **fields: object) -> PackSizing:
    said: dict[str, object] = {"lanes": 1, "at_least_s": 600.0, "at_most_s": None}
    return PackSizing({trial.id: seconds for trial in trials}, **(said | fields))  # type: ignore[arg-type]  # a test's short hand


def _sizes(trials: list[Trial], seconds: float | None, **fields: object) -> list[int]:
    return [len(pack) for pack in make_sized_packs(trials, _measure(trials, seconds, **fields))]


@pytest.mark.parametrize(
    ("seconds", "fields", "sizes"),
    [
        (60, {}, [12, 12]),  # four blocks of three are twelve minutes
        (60, {"lanes": 3}, [24]),  # three at once: a block a minute
        (600, {}, [1] * 24),  # a trial is work enough for a job
        (None, {}, [1] * 24),  # nothing is known: it may be
        (60, {"at_least_s": 0.0}, [1] * 24),
        (60, {"at_most_s": 400.0}, [6, 6, 6, 6]),  # two blocks fit, three do not
        (250, {"at_most_s": 400.0}, [1] * 24),  # not even a block does
        (1, {}, [24]),
    ],
)
def test_jobs_get_work_enough_and_no_more_than_they_have_time_for(seconds, fields, sizes):
    assert _sizes(_trials(8, 3), seconds, **fields) == sizes


@given(
    blocks=st.integers(1, 9),
    candidates=st.integers(1, 5),
    seconds=st.one_of(st.none(), st.floats(0.1, 5000)),
    lanes=st.integers(1, 4),
    at_least_s=st.sampled_from([0.0, 60.0, 600.0]),
    at_most_s=st.sampled_from([None, 300.0, 3600.0]),
)
def test_every_trial_is_in_exactly_one_pack(
    blocks, candidates, seconds, lanes, at_least_s, at_most_s
):
    trials = _trials(blocks, candidates)
    measure = _measure(trials, seconds, lanes=lanes, at_least_s=at_least_s, at_most_s=at_most_s)
    packs = make_sized_packs(trials, measure, {trials[0].id})
    carried = sorted(trial.id for pack in packs for trial in pack)
    assert carried == sorted(trial.id for trial in trials)
    assert packs[-1] == (trials[0],)  # its process has died under it: it goes alone
    for pack in packs:
        if seconds is not None and at_most_s is not None and len(pack) > lanes:
            assert seconds * -(-len(pack) // lanes) <= at_most_s * 1.001
