"""Schedules: values against torch's own schedulers, and what a sweep may write."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from jobs.contract.workloads.catalog import DataError
from jobs.contract.workloads.schedule import factor, resolve_schedule

_STEPS = 40


def _ours(value: Any, steps: int = _STEPS) -> list[float]:
    schedule = resolve_schedule(value, epochs=10)
    return [factor(schedule, step / steps) for step in range(steps)]


def _torchs(kind: Any, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler = kind(optimizer, **options)
    rates = []
    for _ in range(_STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("value", "kind", "options"),
    [
        ("cosine", lr_scheduler.CosineAnnealingLR, {"T_max": _STEPS}),
        (
            {"cosine": {"floor": 0.1}},
            lr_scheduler.CosineAnnealingLR,
            {"T_max": _STEPS, "eta_min": 0.1},
        ),
        (
            {"linear": {"floor": 0.2}},
            lr_scheduler.LinearLR,
            {"start_factor": 1.0, "end_factor": 0.2, "total_iters": _STEPS},
        ),
        ("step", lr_scheduler.MultiStepLR, {"milestones": [20, 30], "gamma": 0.1}),
        (
            {"step": {"at": [0.25], "factor": 0.5}},
            lr_scheduler.MultiStepLR,
            {"milestones": [10], "gamma": 0.5},
        ),
    ],
)
def test_a_schedule_has_the_values_of_torchs_own(value: Any, kind: Any, options: Any) -> None:
    assert _ours(value) == pytest.approx(_torchs(kind, **options), abs=1e-12)


def test_warm_up_grows_in_a_line_and_the_rest_follows_it_whole() -> None:
    factors = _ours({"cosine": {"warmup": 0.25}})
    assert factors[:10] == pytest.approx([step / 10 for step in range(10)])
    assert factors[10:] == pytest.approx(_ours("cosine", steps=30))
    assert _ours({"constant": {"warmup": 0.25}})[9:12] == pytest.approx([0.9, 1.0, 1.0])


def test_a_step_keeps_its_positions_under_a_warm_up() -> None:
    factors = _ours({"step": {"warmup": 0.1}})
    assert factors[:4] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert [factors[step] for step in (19, 20, 29, 30)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_a_warm_up_may_be_written_in_epochs() -> None:
    expected = resolve_schedule({"linear": {"warmup": 0.25}}, epochs=20)
    assert resolve_schedule({"linear": {"warmup": "5ep"}}, epochs=20) == expected


def test_defaults_are_filled_in_so_that_one_schedule_has_one_spelling() -> None:
    assert resolve_schedule("cosine", 10) == {"cosine": {"warmup": 0.0, "floor": 0.0}}
    assert resolve_schedule({"cosine": {"floor": 0}}, 10) == resolve_schedule("cosine", 10)
    filled = {"step": {"warmup": 0.0, "at": [0.5, 0.75], "factor": 0.1}}
    assert resolve_schedule("step", 10) == filled
    assert resolve_schedule(filled, 10) == filled
    assert resolve_schedule({}, 10) == resolve_schedule("constant", 10) == {}
    assert factor({}, 0.7) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cosin", r"unknown schedule 'cosin' \(did you mean 'cosine'\?\): choose from constant"),
        ({"cosine": {"warm": 0.1}}, r"field of schedule cosine 'warm' .*warmup, floor"),
        ({"cosine": {"warmup": 1.0}}, r"warmup of schedule cosine is 1.0, .*'5ep'"),
        ({"cosine": {"warmup": "10ep"}}, "fewer epochs than the 10 declared"),
        ({"cosine": {"warmup": "5 percent"}}, "'5 percent', it must be a fraction"),
        ({"cosine": {"warmup": "nanep"}}, "'nanep'"),
        ({"linear": {"floor": -1}}, "floor of schedule linear is -1, .* from 0 to 1"),
        ({"step": {"at": [0.75, 0.5]}}, r"at of schedule step is \[0.75, 0.5\], .* rising"),
        ({"step": {"at": []}}, "rising fractions"),
        ({"step": {"at": [0.5, 1.0]}}, "rising fractions"),
        ({"step": {"factor": True}}, "factor of schedule step is True"),
        ({"cosine": {}, "linear": {}}, "write a kind"),
        ({"cosine": 3}, "write a kind"),
        (3, "write a kind"),
    ],
)
def test_what_is_no_schedule_is_told_with_the_next_step(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve_schedule(value, epochs=10)


def test_planning_can_check_schedules_without_torch() -> None:
    code = (
        "import sys; from jobs.contract.workloads import schedule\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])
