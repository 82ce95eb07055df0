"""Decides what tuning has found: whether to look further, and else the settings to be compared.

Every search on a workload goes its own way; all that are due are decided together, in one file for
each kind of decision. Whoever calls holds the study's lock. Sends nothing: what a decision
releases is sent by `submit`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.results.suggest import suggest
from orchestrator.study.decisions import inputs_hash, write_decision
from orchestrator.study.stage import Stage
from orchestrator.study.study import Study
from orchestrator.study.tuning_rounds import (
    Tuning,
    place_of,
    suggested_name,
    widening_name,
    winners_name,
)
from orchestrator.sweep.search_space import SearchRun, Space, TunedCandidate, round_digits
from orchestrator.sweep.tune_spaces import describe_proxy
from tracking.outcomes import Outcome

if TYPE_CHECKING:
    from tracking.compare.tuning import Edge, TriedSetting, TuningSummary

_DECADE = 10.0
_RATE = "lr"

# The trials of every search, by the key of a candidate, setting by setting.
_Grouped = Sequence[tuple[SearchRun, Mapping[str, Sequence[Outcome]]]]


def decide_tuning(
    study: Study, stage: Stage, outcomes: Sequence[Outcome], failed: Collection[str] = ()
) -> bool:
    """Suggest settings, widen searches or write down winners; return True if any was due.

    A search is due once all its trials have results, unless no setting of some candidate has a
    score. It waits for none of the `failed`, by id, which training itself has failed for good:
    their settings have no score. Searches that no look has released yet wait, and others do not
    wait for them.
    """
    tuning = study.tuning
    candidates = {one.key: one for one in _tuned_candidates(study)}
    due: list[_Search] = []
    for run, places in _group_by_search(study, outcomes):
        awaited = {
            key: of
            for key, of in places.items()
            if (run.of, key, run.number) not in tuning.chosen
            and stage.wanted(of[0].trial) == "now"
        }
        trials = [one for of in awaited.values() for one in of]
        if not trials or not all(one.has_result or one.trial.id in failed for one in trials):
            continue
        results = [_Tuned(run, candidates[key], of) for key, of in awaited.items()]
        if all(one.winner is not None for one in results):
            due.append(_Search(run, results))
    suggested = _suggest(study, tuning, due)
    rest = [one for one in due if one.run not in suggested]
    widened = _widen(study, tuning, rest)
    chosen = _choose_winners(study, tuning, [one for one in rest if one.run not in widened])
    return bool(suggested or widened or chosen)


class _Tuned:
    """The results of one candidate in a search: its settings and the best of them."""

    def __init__(
        self, run: SearchRun, candidate: TunedCandidate, outcomes: Sequence[Outcome]
    ) -> None:
        from tracking.compare.tuning import best_setting, find_edge, score_settings
        from tracking.metric import Scale

        self.run, self.candidate, self.outcomes = run, candidate, outcomes
        self.settings = score_settings(outcomes)
        self.lower_is_better = Scale.of(run.workload.metric_spec).lower_is_better
        self.winner: TriedSetting | None = best_setting(self.settings, self.lower_is_better)
        winner = self.winner
        self.edge: Edge | None = None if winner is None else find_edge(self.settings, winner)

    @property
    def names(self) -> dict[str, Any]:
        """What it is of, by content and by name."""
        place = {"of": self.run.of, "key": self.candidate.key, "search": self.run.number}
        return place | {"workload": self.run.workload.name, "candidate": self.candidate.name}

    def to_json(self) -> dict[str, Any]:
        assert self.winner is not None
        return {
            "setting": self.winner.name,
            "values": self.candidate.values_in(self.winner.hyperparameters),
            "score": self.winner.score,
            "settings": len(self.settings),
            "diverged": sum(one.diverged > 0 for one in self.settings),
            "edge": self.edge,
        } | ({} if self.winner.rung is None else {"rung": self.winner.rung})


@dataclass(frozen=True)
class _Search:
    """A search that is due, and the results of its candidates."""

    run: SearchRun
    results: Sequence[_Tuned]


def _write(study: Study, name: str, kind: str, of: Iterable[_Search], **record: Any) -> None:
    measured = [one for search in of for tuned in search.results for one in tuned.outcomes]
    trials = sorted(one.trial.id for one in measured)
    inputs = inputs_hash(measured)
    write_decision(study.layout, name, kind, inputs=inputs, trials=trials, **record)


def _suggest(study: Study, tuning: Tuning, due: Sequence[_Search]) -> list[SearchRun]:
    """Write down the settings that are tried next; return the searches whose they are."""
    suggesting, settings = [], []
    for one in due:
        found = [each for result in one.results for each in _suggest_at(tuning, result)]
        if found:
            suggesting.append(one)
            settings += found
    if suggesting:
        name = suggested_name(len(tuning.suggestions) + 1)
        _write(study, name, "suggestions", suggesting, settings=settings)
    return [one.run for one in suggesting]


def _widen(study: Study, tuning: Tuning, due: Sequence[_Search]) -> list[SearchRun]:
    """Write down wider ends of learning rates; return the searches that get them.

    One is widened if an edge has won there, until it has chosen, and `tune.widen` times at most.
    """
    tune = study.sweep.keys.tune
    assert tune is not None
    records, widened = [], []
    for one in due:
        decided = (one.run.of, one.run.number) in tuning.decided
        ends = _find_wider_ends(tuning, one)
        if ends and not decided and tuning.rounds(one.run) <= tune.widen:
            widened.append(one)
            place = {"of": one.run.of, "search": one.run.number}
            names = {"workload": one.run.workload.name, "round": tuning.rounds(one.run)}
            records.append(place | names | {"widened": ends})
    if widened:
        edges = [each for one in widened for each in one.results if each.edge]
        because = [each.names | each.to_json() for each in edges]
        name = widening_name(len(tuning.widenings) + 1)
        _write(study, name, "tuning", widened, searches=records, because=because)
    return [one.run for one in widened]


def _choose_winners(study: Study, tuning: Tuning, due: Sequence[_Search]) -> list[SearchRun]:
    """Write down the settings that are compared, by the places where they were found."""
    tune = study.sweep.keys.tune
    assert tune is not None
    if due:
        _write(
            study,
            winners_name(len(tuning.winners) + 1),
            "winners",
            due,
            tune=tune.model_dump(mode="json", exclude_none=True),
            chosen=[
                each.names | {"rounds": tuning.rounds(one.run)} | each.to_json()
                for one in due
                for each in one.results
            ],
        )
    return [one.run for one in due]


def _suggest_at(tuning: Tuning, result: _Tuned) -> list[dict[str, Any]]:
    """Return what a candidate tries next in a search; nothing if all its settings are known."""
    run, candidate = result.run, result.candidate
    numbers = tuning.unsuggested(candidate, run)[: candidate.search.batch]
    if not numbers:
        return []
    seed = f"{run.root}/{run.of}/{candidate.key}/{numbers[0]}"
    settings = [
        replace(one, hyperparameters=candidate.values_in(one.hyperparameters))
        for one in result.settings
    ]
    space, lower = find_space(tuning, candidate, run), result.lower_is_better
    values = suggest(space, settings, lower, len(numbers), seed, candidate.allows)
    if not values:  # a point is legal
        axis = tuning.axis(candidate, run, tuning.rounds(run))
        point = candidate.setting(numbers[0], axis, run)
        values = [candidate.values_in(point.settings)]
    return [result.names | {"first": numbers[0], "values": values}]


def find_space(tuning: Tuning, candidate: TunedCandidate, run: SearchRun) -> Space:
    """Return the space in which settings are looked for in the last round of a search."""
    axis = tuning.axis(candidate, run, tuning.rounds(run))
    return dict(candidate.search.space) | ({} if axis is None else {_RATE: axis})


def _tuned_candidates(study: Study) -> list[TunedCandidate]:
    return [one for one in study.sweep.candidates if isinstance(one, TunedCandidate)]


def _group_by_search(study: Study, outcomes: Sequence[Outcome]) -> _Grouped:
    """Return the tuning trials of every search and candidate, in the order of the sweep."""
    keys = {one.name: one.key for one in _tuned_candidates(study)}
    searches: dict[tuple[str, int], dict[str, list[Outcome]]] = {}
    for one in sorted(
        (one for one in outcomes if one.trial.phase == "tune"),
        key=lambda one: (TunedCandidate.number_of(one.trial.candidate), one.trial.block),
    ):
        candidate = one.trial.candidate
        place = one.trial.workload.name, TunedCandidate.search_of(candidate)
        searches.setdefault(place, {}).setdefault(keys[candidate.declared], []).append(one)
    known = ((run, (run.workload.name, run.number)) for run in study.sweep.search_runs)
    return [(run, searches[place]) for run, place in known if place in searches]


def _find_wider_ends(tuning: Tuning, search: _Search) -> dict[str, list[float]]:
    """Return, by candidate, where learning rates are looked for next: a decade beyond the edge."""
    widened: dict[str, list[float]] = {}
    for one in search.results:
        axis = tuning.axis(one.candidate, search.run, tuning.rounds(search.run))
        axis = axis or one.candidate.search.space.get(_RATE)
        if one.edge is None or axis is None or axis.kind != "log":
            continue
        ends = widened.setdefault(one.candidate.key, [axis.low, axis.high])
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
    candidates = {one.key: one for one in _tuned_candidates(study)}
    rows = []
    for run, places in _group_by_search(study, outcomes):
        for key, of in places.items():
            if not any(one.attempts for one in of):
                continue  # a later look may come to it
            candidate = candidates[key]
            space = find_space(tuning, candidate, run)
            words = tuple((name, one.in_words()) for name, one in sorted(space.items()))
            widened = tuning.axis(candidate, run, tuning.rounds(run)) is not None
            winner = tuning.chosen.get(place_of(run, candidate))
            rows.append(summarise_search(run.number, of, winner, words, widened))
    names = [one.name for one in study.sweep.candidates]
    untuned = [one.name for one in study.sweep.candidates if not isinstance(one, TunedCandidate)]
    budgets: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        budgets.setdefault((row.workload, row.search), set()).add(len(row.settings))
    return TuningSummary(
        search=tune.search,
        rounds=max(map(tuning.rounds, study.sweep.search_runs)),
        unequal=any(len(sizes) > 1 for sizes in budgets.values()) or bool(untuned),
        untuned=tuple(untuned),
        searched=tuple(
            sorted(rows, key=lambda row: (row.workload, names.index(row.candidate), row.search))
        ),
        repeats=study.sweep.searches,
        proxy=describe_proxy(tune.proxy),
    )
