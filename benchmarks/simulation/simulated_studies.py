"""Simulated studies of known truth: their outcomes, as they would be read from logs, and answers.

A study has two candidates, `a` and `b`, on some workloads with some seeds each; nothing is
trained. What is drawn are final accuracies, curves and ends of trials. All else, from pairing
trials to choosing words, is done by the function that answers `thermolion compare`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.contract.failures import FailureClass
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from tracking.compare.compare import compare
from tracking.compare.result import Comparison
from tracking.history import State
from tracking.logs import Point
from tracking.outcomes import Outcome
from tracking.questions.analysis import ALPHA, ROPE_PP, Analysis, Primary, Question
from tracking.questions.endpoint import FINAL, STANDARD, Endpoint
from tracking.questions.interim import DECIDED, Looks
from tracking.questions.units import BLOCKS, Units

Values = NDArray[np.float64]

QUESTION = Question("a", "b")
CHANCE, TARGET = 0.1, 0.8
STEPS = 10
AUC_A_STEP = 8.0  # points of area that a curve loses if its rise is one step later
_TOP, _RISE = 0.9, 5  # a curve rises from chance in so many steps
_FEW = (0, 6, STEPS)  # at which its area is as sure as from all, and read in a third of the time

COMPLETED, DIVERGED, RAISED, LOST = range(4)  # how a trial ends
_STATES: Sequence[State] = ("completed", "diverged", "failed", "failed")
_CLASSES: Mapping[int, FailureClass] = {RAISED: "USER_ERROR", LOST: "NODE_FAIL"}

BETTER = ("better", "wins more often")
WORSE = ("worse", "wins less often")
WINS = BETTER + WORSE


@dataclass(frozen=True)
class Design:
    """How large a study is; with `looks`, `seeds` is the last of them."""

    workloads: int
    seeds: int
    looks: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.workloads}x{'looks' if self.looks else self.seeds}"


@dataclass(frozen=True)
class Draws:
    """What the trials of a study gave; all arrays are (workloads, seeds, 2), candidate first.

    `final` are accuracies in percent; `delay` is by how many steps the rise of a curve is late;
    `ends` are `COMPLETED` and the like.
    """

    final: Values
    delay: Values
    ends: NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The true difference by endpoint, candidate minus baseline, in percentage points.

    `diverges_more`: the candidate does, so that saying it is no error.
    """

    final: float = 0.0
    auc: float = 0.0
    diverges_more: bool = False

    def of(self, endpoint: Endpoint) -> float:
        return self.final if endpoint == FINAL else self.auc


EQUAL = Truth()


@dataclass(frozen=True)
class Plan:
    """A study as it is planned and declared, without any result.

    `endpoints` are the family of tests; the margin of equivalence is in percentage points.
    """

    design: Design
    endpoints: tuple[Endpoint, ...] = STANDARD
    margin: float = ROPE_PP
    has_target: bool = False
    primary: Primary = "mean"
    units: Units = BLOCKS


@lru_cache(maxsize=64)
def plan_trials(plan: Plan) -> Sequence[tuple[Trial, Mapping[str, Any]]]:
    """Return trials and what their `started` events have, by workload, seed and candidate."""
    trials = []
    for workload in _workloads(plan):
        for block in range(plan.design.seeds):
            seeds = block_seeds(0, "compare", workload, block)
            shared = ("split", "init", "order")
            digests = {name: f"{workload.name}/{block}/{name}" for name in shared}
            started = {"steps": STEPS, "digests": digests | {"data": workload.name}}
            trials += [
                (Trial(workload, candidate, "compare", block, seeds), started)
                for candidate in _candidates()
            ]
    return trials


@lru_cache(maxsize=64)
def declare(plan: Plan) -> Analysis:
    """Return the analysis of a plan, as it is frozen before the first trial."""
    return Analysis(
        questions=(QUESTION,),
        workloads={one.name: one.key for one in _workloads(plan)},
        candidates={one.name: one.key for one in _candidates()},
        blocks=tuple(range(plan.design.seeds)),
        looks=plan.design.looks,
        endpoints=plan.endpoints,
        alpha=ALPHA,
        rope_pp=plan.margin,
        primary=plan.primary,
    )


def _workloads(plan: Plan) -> list[UserWorkload]:
    target = TARGET if plan.has_target else None
    spec = MetricSpec(
        "val_accuracy", "test_accuracy", unit="fraction", chance=CHANCE, target=target
    )
    return [
        UserWorkload(
            f"w{number:02}",
            train="simulated:train",
            options={"workload": number},
            steps=STEPS,
            declared_metric=spec,
        )
        for number in range(plan.design.workloads)
    ]


def _candidates() -> list[Candidate]:
    return [Candidate(name, "sgd", {"lr": 0.1}, replica) for replica, name in enumerate("ab")]


def make_outcomes(plan: Plan, draws: Draws) -> list[Outcome]:
    """Return the outcomes of a plan whose trials gave what was drawn."""
    steps = range(STEPS + 1) if plan.has_target else _FEW
    rise = (np.array(steps) - draws.delay.reshape(-1, 1)) / _RISE
    curves = CHANCE + (_TOP - CHANCE) * np.clip(rise, 0, 1)
    finals, ends = draws.final.ravel() / 100, draws.ends.ravel()
    rows = zip(plan_trials(plan), curves.tolist(), finals.tolist(), ends.tolist(), strict=True)
    return [_make_outcome(*trial, steps, *results) for trial, *results in rows]


def _make_outcome(
    trial: Trial,
    started: Mapping[str, Any],
    steps: Sequence[int],
    curve: list[float],
    final: float,
    end: int,
) -> Outcome:
    if end == DIVERGED:
        curve = [*curve[: len(curve) // 2], math.nan]
    elif end != COMPLETED:
        curve = []
    return Outcome(
        trial,
        state=_STATES[end],
        attempts=1,
        curve=tuple(
            Point(step, None, None, float(step), step, {"val_accuracy": value})
            for step, value in zip(steps, curve, strict=False)
        ),
        metrics={"test_accuracy": final} if end == COMPLETED else {},
        started=started,
    )


def given_up(plan: Plan, draws: Draws) -> dict[str, FailureClass]:
    """Return why trials have no result and will not run again, by the id of the trial."""
    ends = draws.ends.ravel().tolist()
    return {
        trial.id: _CLASSES[end]
        for (trial, _), end in zip(plan_trials(plan), ends, strict=True)
        if end in _CLASSES
    }


def answer(
    plan: Plan,
    outcomes: Sequence[Outcome],
    lost: Mapping[str, FailureClass],
    complete: int | None = None,
) -> Comparison:
    """Answer the question of a study; if it has looks, by the `complete` first ones, or by all.

    `lost` are the trials that were given up, by id.
    """
    seeds, looks = plan.design.looks, None
    if seeds:
        looks = Looks(seeds, complete=len(seeds) if complete is None else complete)
    return compare(
        "simulated",
        outcomes,
        [QUESTION],
        analysis=declare(plan),
        looks=looks,
        units=plan.units,
        given_up=lost,
    )


Said = set[tuple[Endpoint, str]]


def follow(plan: Plan, draws: Draws) -> tuple[Comparison, Said]:
    """Take the looks of a study until its question is decided, as `submit` does.

    Return the last answer, and the words that were said at any look, by endpoint. The ledger of
    the last look has those of all, since no row of it depends on later trials.
    """
    outcomes, lost = make_outcomes(plan, draws), given_up(plan, draws)
    found = answer(plan, outcomes, lost)
    rows = {(one.endpoint, one.look): one.word for one in found.ledger}
    for look in range(1, len(plan.design.looks)):
        if all(rows.get((one, look)) in DECIDED for one in plan.endpoints):
            found = answer(plan, outcomes, lost, look)
            rows = {at: word for at, word in rows.items() if at[1] <= look}
            break
    said = {(endpoint, word) for (endpoint, _), word in rows.items() if word}
    return found, said | {(one.endpoint, one.verdict) for one in found.confirmatory if one.verdict}


def peek(plan: Plan, draws: Draws) -> tuple[Comparison, Said]:
    """Answer after each seed from the third on as if there were to be no other, with no looks.

    That is what nobody should do; the words are those that were said at any time.
    """
    said: Said = set()
    for seeds in range(3, plan.design.seeds + 1):
        part = Plan(Design(plan.design.workloads, seeds), plan.endpoints, plan.margin)
        first = Draws(draws.final[:, :seeds], draws.delay[:, :seeds], draws.ends[:, :seeds])
        found, words = follow(part, first)
        said |= words
    return found, said


def judge(
    plan: Plan, found: Comparison, said: Said, truth: Truth, any_diverged: bool = False
) -> dict[str, bool]:
    """Compare what was said of a study with its truth; return what holds of it, by measure.

    `false`: a wrong better or worse in the family; `equivalent`: a wrong equivalent; `covered`:
    the pooled interval of final accuracy holds the true difference; `right`: the sign of that was
    found; `decided`: anything was said. `speed`, `divergence` and `datasets` are wrong words of
    the families of time to target, of divergence, and of data sets like these; `workload` is one
    about a single workload. A measure is missing if the study has nothing of it.
    """

    def is_wrong(endpoint: Endpoint, word: str | None) -> bool:
        return word in WINS and not _agrees(word, truth.of(endpoint))

    judged = {
        "false": any(is_wrong(*one) for one in said),
        "decided": any(word in DECIDED or word in WINS for _, word in said),
    }
    if beyond := [one for one in plan.endpoints if abs(truth.of(one)) >= plan.margin]:
        judged["equivalent"] = any((one, "equivalent") in said for one in beyond)
    if truth.final:
        judged["right"] = any(e == FINAL and _agrees(w, truth.final) for e, w in said)
    for row in found.confirmatory if plan.primary == "mean" else ():
        low, high = row.estimate.low, row.estimate.high
        if row.endpoint == FINAL and low is not None and high is not None:
            judged["covered"] = low <= truth.final <= high
    if plan.has_target:
        pooled = [one for one in found.time_to_target.speedups if one.workload is None]
        judged["speed"] = any(one.word in ("faster", "slower") for one in pooled)
    if any_diverged:
        wrong = ("better",) if truth.diverges_more else ("better", "worse")
        judged["divergence"] = any(one.word in wrong for one in found.divergence)
    if plan.design.workloads > 1:
        judged["datasets"] = any(is_wrong(one.endpoint, one.word) for one in found.across_datasets)
        judged["workload"] = any(
            is_wrong(one.endpoint, one.verdict)
            for one in found.by_workload
            if one.endpoint in plan.endpoints
        )
    return judged


def _agrees(word: str | None, truth: float) -> bool:
    return (truth > 0 and word in BETTER) or (truth < 0 and word in WORSE)
