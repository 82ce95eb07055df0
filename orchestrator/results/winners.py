"""Decides what tuning has found: whether to look further, and else the settings to be compared.

Whoever calls holds the study's lock. Sends nothing: what a decision releases is sent by `submit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.results.suggest import suggest
from orchestrator.study.decisions import inputs_hash, write_decision
from orchestrator.study.study import Study
from orchestrator.study.tuning_rounds import (
    Place,
    Tuning,
    suggested_name,
    tuning_key,
    widening_name,
    winners_name,
)
from orchestrator.sweep.keys import TuneKeys
from orchestrator.sweep.search_space import Space, TunedCandidate, round_digits
from tracking.outcomes import Outcome

if TYPE_CHECKING:
    from tracking.compare.tuning import Edge, TriedSetting, TuningSummary

_DECADE = 10.0
_RATE = "lr"

_Decision = tuple[str, str, dict[str, Any]]  # its name, its kind, its record


def decide_tuning(study: Study, outcomes: Sequence[Outcome]) -> bool:
    """Suggest settings, widen the search or write down the winners; return True if one was due.

    None is due while a trial has no result, or if no setting of some candidate has a score.
    """
    tuning = study.tuning
    places = _group_by_place(study, outcomes)
    awaited = {at: of for at, of in places.items() if at not in tuning.chosen}
    measured = [one for of in awaited.values() for one in of]
    if not awaited or not all(one.has_result for one in measured):
        return False
    results = {at: _Tuned(find_candidate(study, at), of) for at, of in awaited.items()}
    if any(one.winner is None for one in results.values()):
        return False
    tune = study.sweep.keys.tune
    assert tune is not None
    name, kind, record = (
        _suggest(tuning, results)
        or _widen(tuning, results, tune.widen)
        or _choose_winners(tuning, results, tune)
    )
    return write_decision(study.layout, name, kind, inputs=inputs_hash(measured), **record)


class _Tuned:
    """The results of tuning one candidate on one workload: its settings and the best of them."""

    def __init__(self, candidate: TunedCandidate, outcomes: Sequence[Outcome]) -> None:
        from tracking.compare.tuning import best_setting, find_edge, score_settings
        from tracking.metric import Scale

        self.candidate, self.workload = candidate, outcomes[0].trial.workload
        self.trials = [one.trial.id for one in outcomes]
        self.settings = score_settings(outcomes)
        self.lower_is_better = Scale.of(self.workload.metric_spec).lower_is_better
        self.winner: TriedSetting | None = best_setting(self.settings, self.lower_is_better)
        winner = self.winner
        self.edge: Edge | None = None if winner is None else find_edge(self.settings, winner)

    def to_json(self) -> dict[str, Any]:
        assert self.winner is not None
        return {
            "workload": self.workload.name,
            "candidate": self.candidate.name,
            "setting": self.winner.name,
            "values": self.candidate.values_in(self.winner.hyperparameters),
            "score": self.winner.score,
            "settings": len(self.settings),
            "diverged": sum(one.diverged > 0 for one in self.settings),
            "edge": self.edge,
        } | ({} if self.winner.rung is None else {"rung": self.winner.rung})


def _suggest(tuning: Tuning, results: Mapping[Place, _Tuned]) -> _Decision | None:
    """Return the settings that are tried next; None if those of this round are all known."""
    settings = [one for at in results for one in _suggest_at(tuning, at, results[at])]
    if not settings:
        return None
    return suggested_name(len(tuning.suggestions) + 1), "suggestions", {"settings": settings}


def _widen(tuning: Tuning, results: Mapping[Place, _Tuned], most: int) -> _Decision | None:
    """Return wider ends of learning rates; None if no edge has won, or after `most` times."""
    widened = _find_wider_ends(tuning, results)
    if not widened or tuning.winners or tuning.rounds > most:
        return None
    record = {
        "round": tuning.rounds,
        "widened": widened,
        "because": [one.to_json() for one in results.values() if one.edge],
    }
    return widening_name(tuning.rounds), "tuning", record


def _choose_winners(tuning: Tuning, results: Mapping[Place, _Tuned], tune: TuneKeys) -> _Decision:
    """Return the settings that are compared, by the places where they were found."""
    record = {
        "tune": tune.model_dump(mode="json", exclude_none=True),
        "rounds": tuning.rounds,
        "chosen": [{"of": on, "key": key} | one.to_json() for (on, key), one in results.items()],
        "trials": sorted(id_ for one in results.values() for id_ in one.trials),
    }
    return winners_name(len(tuning.winners) + 1), "winners", record


def _suggest_at(tuning: Tuning, at: Place, result: _Tuned) -> list[dict[str, Any]]:
    """Return what is to be tried next at one place; nothing if all its settings are known."""
    candidate, search = result.candidate, result.candidate.search
    assert search is not None
    numbers = tuning.unsuggested(candidate, result.workload)[: search.batch]
    if not numbers:
        return []
    seed = f"{search.root}/{at[0]}/{at[1]}/{numbers[0]}"
    settings = [
        replace(one, hyperparameters=candidate.values_in(one.hyperparameters))
        for one in result.settings
    ]
    space, lower = find_space(tuning, candidate), result.lower_is_better
    values = suggest(space, settings, lower, len(numbers), seed, candidate.allows)
    if not values:  # a point is legal
        point = candidate.setting(numbers[0], tuning.axis(candidate, tuning.rounds))
        values = [candidate.values_in(point.hyperparameters)]
    names = {"workload": result.workload.name, "candidate": candidate.name}
    return [{"of": at[0], "key": at[1]} | names | {"first": numbers[0], "values": values}]


def find_space(tuning: Tuning, candidate: TunedCandidate) -> Space:
    """Return the space in which settings are looked for in the last round."""
    assert candidate.search is not None
    axis = tuning.axis(candidate, tuning.rounds)
    return dict(candidate.search.space) | ({} if axis is None else {_RATE: axis})


def find_candidate(study: Study, at: Place) -> TunedCandidate:
    """Return the tuned candidate of a place."""
    return next(
        one
        for one in study.sweep.candidates
        if isinstance(one, TunedCandidate) and one.key == at[1]
    )


def _group_by_place(study: Study, outcomes: Sequence[Outcome]) -> Mapping[Place, list[Outcome]]:
    """Return the tuning trials of every candidate on every workload, setting by setting."""
    tuned = {one.name: one for one in study.sweep.candidates if isinstance(one, TunedCandidate)}
    places: dict[Place, list[Outcome]] = {}
    for one in sorted(
        (one for one in outcomes if one.trial.phase == "tune"),
        key=lambda one: (TunedCandidate.number_of(one.trial.candidate), one.trial.block),
    ):
        candidate = tuned[one.trial.candidate.declared]
        at = tuning_key(one.trial.workload, candidate.search), candidate.key
        places.setdefault(at, []).append(one)
    return places


def _find_wider_ends(tuning: Tuning, results: Mapping[Place, _Tuned]) -> dict[str, list[float]]:
    """Return, by candidate, where learning rates are looked for next: a decade beyond the edge."""
    widened: dict[str, list[float]] = {}
    for (_, key), one in results.items():
        axis = tuning.axis(one.candidate, tuning.rounds)
        assert one.candidate.search is not None
        axis = axis or one.candidate.search.space.get(_RATE)
        if one.edge is None or axis is None or axis.kind != "log":
            continue
        ends = widened.setdefault(key, [axis.low, axis.high])
        if one.edge == "lowest":
            ends[0] = round_digits(axis.low / _DECADE)
        else:
            ends[1] = round_digits(axis.high * _DECADE)
    return widened


def summarize_tuning(study: Study, outcomes: Sequence[Outcome]) -> "TuningSummary | None":
    """Return how the tuning of a study has gone; None if the sweep tunes nothing."""
    from tracking.compare.tuning import TuningSummary, summarise_search

    tune, tuning = study.sweep.keys.tune, study.tuning
    if tune is None:
        return None
    rows = []
    for at, of in _group_by_place(study, outcomes).items():
        candidate = find_candidate(study, at)
        space = find_space(tuning, candidate)
        words = tuple((name, one.in_words()) for name, one in sorted(space.items()))
        widened = tuning.axis(candidate, tuning.rounds) is not None
        rows.append(summarise_search(of, tuning.chosen.get(at), words, widened))
    names = [one.name for one in study.sweep.candidates]
    untuned = [one.name for one in study.sweep.candidates if not isinstance(one, TunedCandidate)]
    budgets = {len(row.settings) for row in rows}
    return TuningSummary(
        search=tune.search,
        rounds=tuning.rounds,
        unequal=len(budgets) > 1 or bool(untuned),
        untuned=tuple(untuned),
        searched=tuple(sorted(rows, key=lambda row: (row.workload, names.index(row.candidate)))),
    )
