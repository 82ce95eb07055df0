"""Outcomes made to measure: a small study with known numbers, and one that looks like life."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload, MetricSpec, UserWorkload
from tracking.history import State
from tracking.logs import Point
from tracking.outcomes import Outcome

Make = Callable[..., Outcome]

_STEPS = 40
_CHANCE = {"test_accuracy": 0.1, "val_accuracy": 0.1, "train_accuracy": 0.1}


def make_outcome(
    candidate: str = "thermolion",
    workload: str = "digits",
    block: int = 0,
    accuracy: float = 0.9,
    curve: Sequence[tuple[int, float]] | None = None,
    state: State = "completed",
    split: str = "fair",
    seconds: float = 10.0,
    **changes: Any,
) -> Outcome:
    """Return one trial with a final test accuracy and a curve of (step, accuracy), fractions."""
    of = ImageWorkload(workload, workload, "convnet", epochs=10, global_batch=128, split=split)  # type: ignore[arg-type]  # a plain str, for brevity of the tests
    arm = Candidate(candidate, candidate, {"lr": 1e-3})
    trial = Trial(of, arm, "compare", block, block_seeds(0, "compare", of, block))
    if curve is None:
        late = [(10, accuracy - 0.2), (20, accuracy - 0.05), (_STEPS, accuracy)]
        curve = [(0, 0.1), *((step, max(0.1, value)) for step, value in late)]
    metric = "train_accuracy" if split == "replication" else "val_accuracy"
    points = tuple(
        Point(
            step=step,
            epoch=step / 4,
            samples=step * 128,
            train_seconds=seconds * step / _STEPS,
            time_ms=1_700_000_000_000 + step,
            metrics={metric: value, "train_loss": math.nan if value != value else 2 - value},  # noqa: PLR0124 - NaN differs from itself
        )
        for step, value in curve
    )
    ended = state in ("completed", "diverged")
    outcome = Outcome(
        trial,
        state=state,
        attempts=0 if state == "waiting" else 1,
        curve=points if state != "waiting" else (),
        metrics={"test_accuracy": accuracy} if ended else {},
        train_seconds=seconds if ended else None,
        error="a loss of nan" if state == "diverged" else None,
        started={}
        if state == "waiting"
        else {
            "steps": _STEPS,
            "steps_per_epoch": 4,
            "chance": _CHANCE,
            "digests": {
                "data": f"data-{workload}",
                "split": f"split-{workload}-{block}",
                "init": f"init-{workload}-{block}",
                "order": f"order-{workload}-{block}",
            },
        },
        job={}
        if state == "waiting"
        else {
            "submission": "s1",
            "pack": block,
            "host": "node1",
            "device": "cpu A",
            "code": "c0de",
            "packages": {"python": "3.11.7", "torch": "2.11.0"},
        },
    )
    return replace(outcome, **changes)


def make_user_outcome(
    candidate: str = "thermolion",
    workload: str = "lm",
    block: int = 0,
    curve: Sequence[tuple[int, float]] = ((0, 4.0), (50, 3.0), (100, 2.5)),
    reading: MetricSpec | None = None,
    metrics: Mapping[str, float] | None = None,
    state: State = "completed",
    **changes: Any,
) -> Outcome:
    """Return one trial of a user's own training: steps and a metric of theirs, nothing else."""
    reading = reading or MetricSpec("val_loss", goal="min")
    of = UserWorkload(
        workload, train="my_lab.lm:train", options={"depth": 4}, declared_metric=reading
    )
    arm = Candidate(candidate, candidate, {"lr": 1e-3})
    trial = Trial(of, arm, "compare", block, block_seeds(0, "compare", of, block))
    points = tuple(
        Point(step, None, None, step / 10, 1_700_000_000_000 + step, {reading.metric: value})
        for step, value in curve
    )
    if metrics is None:
        metrics = {reading.metric: curve[-1][1]} if curve else {}
    outcome = Outcome(
        trial,
        state=state,
        attempts=1,
        curve=points,
        metrics=metrics if state == "completed" else {},
        train_seconds=10.0,
        error=f"{reading.metric} is nan" if state == "diverged" else None,
        started={"token": "t", "generation": 0},
        job={"submission": "s1", "pack": 0, "host": "node1", "device": "cpu A", "code": "c0de"},
    )
    return replace(outcome, **changes)


def make_user_arms(
    candidate: Sequence[float], baseline: Sequence[float], workload: str = "lm", **changes: Any
) -> list[Outcome]:
    """Return paired trials of thermolion and adamw whose curves end with these values."""
    return [
        make_user_outcome(name, workload, block, [(0, 4.0), (100, last)], **changes)
        for name, arm in (("thermolion", candidate), ("adamw", baseline))
        for block, last in enumerate(arm)
    ]


def make_arms(
    workload: str, candidate: Sequence[float], baseline: Sequence[float], **changes: Any
) -> list[Outcome]:
    """Return paired trials of thermolion and adamw with these final accuracies, fractions."""
    return [
        make_outcome(name, workload, block, accuracy, **changes)
        for name, arm in (("thermolion", candidate), ("adamw", baseline))
        for block, accuracy in enumerate(arm)
    ]


def make_study(blocks: int = 5) -> list[Outcome]:
    """Return three candidates on three workloads with learning curves; seeded, looks like life."""
    random = np.random.default_rng(7)
    arms = {"thermolion": (1.3, 0.004), "adamw": (1.0, 0.0), "lion": (0.8, -0.006)}
    tops = {"digits": 0.965, "fashion_mnist": 0.902, "cifar10": 0.71}
    outcomes = []
    for workload, top in tops.items():
        for block in range(blocks):
            shared = random.normal(0, 0.003)
            for name, (speed, gain) in arms.items():
                final = top + gain + shared + random.normal(0, 0.0025)
                steps = range(0, _STEPS + 1, 2)
                curve = [
                    (
                        step,
                        0.1
                        + (final - 0.1) * (1 - math.exp(-speed * step / 7))
                        + (random.normal(0, 0.006) if step else 0.0),
                    )
                    for step in steps
                ]
                seconds = 12.0 + 2 * (name == "thermolion") + random.normal(0, 0.3)
                outcomes.append(make_outcome(name, workload, block, final, curve, seconds=seconds))
    return outcomes


@pytest.fixture
def outcome() -> Make:
    return make_outcome


@pytest.fixture
def user_outcome() -> Make:
    return make_user_outcome


@pytest.fixture
def user_arms() -> Callable[..., list[Outcome]]:
    return make_user_arms


@pytest.fixture
def arms() -> Callable[..., list[Outcome]]:
    return make_arms


@pytest.fixture
def study() -> Callable[..., list[Outcome]]:
    return make_study
