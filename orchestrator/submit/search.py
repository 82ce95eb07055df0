"""The search for one candidate's settings: a sweep of its own, made from another one.

No comparison: what it finds was chosen among many. `tune:` gives all candidates as many trials.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.results.suggest import compute_importances
from orchestrator.results.winners import summarize_tuning
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError, choices
from orchestrator.sweep.search_space import TunedCandidate
from tracking.compare.endpoints import final_metric
from tracking.compare.tuning import SearchSummary
from tracking.outcomes import Outcome

_USUAL_TRIALS = 20


def make_overrides(base: Study, name: str, trials: int | None, method: str | None) -> list[str]:
    """Return the overrides that turn a sweep into a search for one candidate.

    It tries `trials` settings, then trains the best once more on a fresh seed, since the best of
    many is lucky as well. Raises SweepError if the sweep has no such candidate.
    """
    data = base.sweep.document.data
    entries: Mapping[str, Mapping[str, Any] | None] = data["candidates"]
    if name not in entries:
        raise SweepError(f"--candidate {name}: {choices(name, entries)}")
    written: Mapping[str, Any] = data.get("tune") or {}
    spaces: Mapping[str, Any] = written.get("space") or {}
    space = spaces.get(name, spaces.get("*"))
    entry = {k: v for k, v in (entries[name] or {}).items() if k not in (space or {"lr": None})}
    budget = written.get("trials", _USUAL_TRIALS)
    given = budget if isinstance(budget, int) else budget.get(name, _USUAL_TRIALS)
    how = method or written.get("search", "sobol")
    kept = ("ranks", "proxy", *(("reduction_factor", "rungs") if how == "asha" else ("seeds",)))
    tune = {key: written[key] for key in kept if key in written} | {
        "trials": given if trials is None else trials,
        "search": how,
        "repeats": 1,
        "widen": 0,
        "space": None if space is None else {name: space},
    }
    gone = [key for key in ("baseline", "compare", "pilot") if data.get(key) is not None]
    keys = {
        "study": f"{base.name}-{name}",
        "candidates": {name: entry},
        **dict.fromkeys(gone),
        "seeds": 1,
        "tune": tune,
    }
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]


@dataclass(frozen=True)
class SearchResult:
    """The result of a search on one workload.

    `weights` are the parts of the spread of scores that hyperparameters explain, the largest
    first; empty without Optuna, or of a single one. `fresh` is the final metric of the best
    setting on a seed that the search has not seen, in percent if `searched` is.
    """

    searched: SearchSummary
    weights: Mapping[str, float]
    fresh: float | None


def read_search_results(study: Study, outcomes: Sequence[Outcome]) -> tuple[SearchResult, ...]:
    """Return the results of a search so far, workload by workload."""
    tuned = summarize_tuning(study, outcomes)
    assert tuned is not None
    return tuple(
        SearchResult(one, _compute_weights(study, one), _read_fresh(outcomes, one))
        for one in tuned.searched
    )


def _compute_weights(study: Study, searched: SearchSummary) -> Mapping[str, float]:
    candidate = next(one for one in study.sweep.candidates if one.name == searched.candidate)
    assert isinstance(candidate, TunedCandidate)
    settings = [
        replace(one, hyperparameters=candidate.values_in(one.hyperparameters))
        for one in searched.settings
        if one.rung is None
    ]
    return compute_importances(candidate.search.space, settings, searched.lower_is_better)


def _read_fresh(outcomes: Sequence[Outcome], searched: SearchSummary) -> float | None:
    for one in outcomes:
        at = one.trial.phase, one.trial.workload.name, one.trial.candidate.name
        if at == ("compare", searched.workload, searched.candidate):
            value = one.metrics.get(final_metric(one.trial.workload))
            return None if value is None else value * (100.0 if searched.in_points else 1.0)
    return None
