"""The scores of the settings of tuned candidates, and the winner: by validation data alone.

Records and pure functions. Test metrics are in the logs of tuning trials as well, and nothing here
reads them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from tracking.compare.endpoints import (
    ComparisonError,
    UnmeasuredError,
    curve_metric,
    last_curve_value,
)
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.stats.budgets import expected_best

RATE = "lr"
_FEWEST = 3  # learning rates of which one can lie between others

Edge = Literal["lowest", "highest"]


@dataclass(frozen=True)
class TriedSetting:
    """One setting of a candidate on one workload.

    `score` is the mean over seeds of the last value of the validation curve, as logged, None if a
    trial has none; `diverged` counts trials, which score chance. `rung` is the epoch or step at
    which a trial ended early: its score is that of a smaller budget. `part` is the mean part of
    the budget that was trained.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    score: float | None
    diverged: int
    rung: int | None = None
    part: float = 1.0

    @property
    def reached(self) -> float:
        """The epoch or step up to which it was trained; infinite if to the end."""
        return math.inf if self.rung is None else self.rung


@dataclass(frozen=True)
class SearchSummary:
    """One candidate in one search on one workload; `settings` in order, each on `seeds` seeds.

    `search` is its number, from 0: a workload may be searched several times.
    Scores are those of `metric`, in percent if `in_points`. `space` has (hyperparameter, source of
    its values) in words, as it was at the end; `widened` is True if that is wider than declared.
    `chosen` is the name of the winner, None before the decision, and `values` are its
    (hyperparameter, value). `edge` is set if its learning rate is the lowest or highest of all
    that were tried. `expected` has the expected best score of k of the settings, k from 1 on,
    empty if a score is missing or of a smaller budget.
    """

    workload: str
    candidate: str
    metric: str
    in_points: bool
    lower_is_better: bool
    seeds: int
    space: tuple[tuple[str, str], ...]
    widened: bool
    settings: tuple[TriedSetting, ...]
    chosen: str | None
    values: tuple[tuple[str, Any], ...]
    edge: Edge | None
    expected: tuple[float, ...]
    search: int = 0


@dataclass(frozen=True)
class TuningSummary:
    """The tuning of a study; `untuned` candidates are as declared, `unequal` if budgets differ.

    There are `repeats` independent searches a workload. Every candidate was given its trials up
    to `rounds` times in a search, all candidates of one search as often. `proxy` says what cheaper
    workload they were of, None if that was the one compared.
    """

    search: str
    rounds: int
    unequal: bool
    untuned: tuple[str, ...]
    searched: tuple[SearchSummary, ...]
    repeats: int = 1
    proxy: str | None = None


@dataclass(frozen=True)
class Untuned:
    """The candidates of a study that were compared as declared: nobody searched their settings.

    `rates` are their learning rates, by name, if they have one. `command` makes a study of its own
    in which every candidate is tuned, and is None if it cannot; `obstacle` then says why.
    """

    candidates: tuple[str, ...]
    rates: tuple[tuple[str, Any], ...]
    command: str | None
    obstacle: str | None = None


@dataclass(frozen=True)
class RepeatedSearch:
    """All searches of one candidate on one workload, in order."""

    searches: tuple[SearchSummary, ...]

    @property
    def workload(self) -> str:
        return self.searches[0].workload

    @property
    def candidate(self) -> str:
        return self.searches[0].candidate

    @property
    def values(self) -> Mapping[str, tuple[Any, ...]]:
        """What the searches have chosen so far, by hyperparameter."""
        chosen: dict[str, list[Any]] = {}
        for one in self.searches:
            for name, value in one.values:
                chosen.setdefault(name, []).append(value)
        return {name: tuple(values) for name, values in chosen.items()}

    @property
    def spread(self) -> float | None:
        """The largest chosen learning rate over the smallest; None with fewer than two."""
        rates = [float(rate) for rate in self.values.get(RATE, ())]
        return max(rates) / min(rates) if len(rates) > 1 and min(rates) > 0 else None

    @property
    def expected(self) -> tuple[float, ...]:
        """The expected best of k settings, the mean over searches, as far as each of them goes."""
        curves = [one.expected for one in self.searches]
        return tuple(fmean(at) for at in zip(*curves, strict=False))


def group_searches(tuning: TuningSummary) -> tuple[RepeatedSearch, ...]:
    """Return the searches of every candidate on every workload together, in their order."""
    groups: dict[tuple[str, str], list[SearchSummary]] = {}
    for one in tuning.searched:
        groups.setdefault((one.workload, one.candidate), []).append(one)
    return tuple(RepeatedSearch(tuple(of)) for of in groups.values())


def score_settings(outcomes: Sequence[Outcome]) -> tuple[TriedSetting, ...]:
    """Return the settings of one candidate on one workload, in the order of `outcomes`."""
    settings: dict[str, list[Outcome]] = {}
    for one in outcomes:
        settings.setdefault(one.trial.candidate.name, []).append(one)
    return tuple(
        TriedSetting(
            name,
            dict(trials[0].trial.candidate.settings),
            _score(trials),
            sum(one.state == "diverged" for one in trials),
            min((one.rung for one in trials if one.rung is not None), default=None),
            fmean(one.part for one in trials),
        )
        for name, trials in settings.items()
    )


def best_setting(settings: Sequence[TriedSetting], lower_is_better: bool) -> TriedSetting | None:
    """Return the setting with the best score, the first of several; None if none has one.

    A setting that diverged on any seed wins only if all did, and one that ended early only over
    those that ended before it.
    """
    sign = -1.0 if lower_is_better else 1.0
    sound = [one for one in settings if one.score is not None and not one.diverged]
    if sound:
        return max(sound, key=lambda one: (one.reached, sign * (one.score or 0.0)))
    return next((one for one in settings if one.diverged), None)


def find_edge(settings: Sequence[TriedSetting], winner: TriedSetting) -> Edge | None:
    """Say if a winner has the lowest or the highest learning rate of all that were tried.

    None if the winner ended early: no other has trained longer, so its rate shows no tendency.
    """
    rates = [float(one.hyperparameters[RATE]) for one in settings if RATE in one.hyperparameters]
    if len(set(rates)) < _FEWEST or winner.diverged or winner.rung is not None:
        return None
    rate = winner.hyperparameters[RATE]
    if rate == min(rates):
        return "lowest"
    return "highest" if rate == max(rates) else None


def summarise_search(
    search: int,
    outcomes: Sequence[Outcome],
    winner: Mapping[str, Any] | None,
    space: tuple[tuple[str, str], ...],
    widened: bool,
) -> SearchSummary:
    """Return one candidate in one search; `winner` is the record of the decision."""
    trial, settings = outcomes[0].trial, score_settings(outcomes)
    scale = Scale.of(trial.workload.metric_spec)
    scaled = tuple(
        replace(one, score=None if one.score is None else scale.factor * one.score)
        for one in settings
    )
    return SearchSummary(
        workload=trial.workload.name,
        candidate=trial.candidate.declared,
        metric=curve_metric(trial.workload),
        in_points=scale.in_points,
        lower_is_better=scale.lower_is_better,
        seeds=len({one.trial.block for one in outcomes}),
        space=space,
        widened=widened,
        settings=scaled,
        chosen=None if winner is None else winner["setting"],
        values=() if winner is None else tuple(winner["values"].items()),
        edge=None if winner is None else winner["edge"],
        expected=_expected(scaled, scale.sign),
        search=search,
    )


def _expected(settings: Sequence[TriedSetting], sign: float) -> tuple[float, ...]:
    scores = [sign * one.score for one in settings if one.score is not None and one.rung is None]
    if len(scores) < len(settings):
        return ()
    return tuple(sign * best for best in expected_best(scores))


def _score(trials: Sequence[Outcome]) -> float | None:
    if not all(one.has_result for one in trials):
        return None
    try:
        return fmean(last_curve_value(one) for one in trials)
    except (UnmeasuredError, ComparisonError):
        return None  # no setting wins by what was not measured, or makes no sense
