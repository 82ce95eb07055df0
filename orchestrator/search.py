"""The plain search for one candidate's settings: a sweep of its own, made from another one.

It is no comparison: what it finds was chosen among many, and `tune:` gives all candidates as much.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.space import TunedCandidate
from orchestrator.study import Study
from orchestrator.suggest import importances
from orchestrator.sweep_file import SweepError, choices
from orchestrator.winners import tuning_found
from tracking.endpoints import final_metric
from tracking.outcomes import Outcome
from tracking.tuning import Searched

_USUAL_TRIALS = 20


def overrides(base: Study, name: str, trials: int | None, method: str | None) -> list[str]:
    """Return what makes a search for one candidate of a sweep: `trials` settings, then the best.

    The best one is trained once more on a fresh seed, since the best of many is lucky as well.
    Raises SweepError for a candidate that is none.
    """
    data = base.sweep.document.data
    entries: Mapping[str, Mapping[str, Any] | None] = data["candidates"]
    if name not in entries:
        raise SweepError(f"--candidate {name}: {choices(name, entries)}")
    said: dict[str, Any] = dict(data.get("tune") or {})
    spaces: Mapping[str, Any] = said.get("space") or {}
    space = spaces.get(name, spaces.get("*"))
    entry = {k: v for k, v in (entries[name] or {}).items() if k not in (space or {"lr": None})}
    budget = said.get("trials", _USUAL_TRIALS)
    given = budget if isinstance(budget, int) else budget.get(name, _USUAL_TRIALS)
    tune: dict[str, Any] = {key: said[key] for key in ("seeds", "ranks") if key in said}
    tune |= {
        "trials": given if trials is None else trials,
        "search": method or said.get("search", "sobol"),
        "widen": 0,
        "space": None if space is None else {name: space},
    }
    gone = [key for key in ("baseline", "compare", "pilot") if data.get(key) is not None]
    keys = {
        "study": f"{base.sweep.study}-{name}",
        "candidates": {name: entry},
        **dict.fromkeys(gone),
        "seeds": 1,
        "tune": tune,
    }
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]


@dataclass(frozen=True)
class Found:
    """What a search has found on one workload.

    `weights` are the parts of the spread of scores that hyperparameters explain, the largest
    first; empty where Optuna is not installed or there is one alone. `fresh` is the final metric
    of the best setting on a seed that the search has not seen, in percent where `searched` is.
    """

    searched: Searched
    weights: Mapping[str, float]
    fresh: float | None

    def to_json(self) -> dict[str, Any]:
        said = asdict(self)
        return {"workload": self.searched.workload, "found": said.pop("searched")} | said


def read_found(study: Study, outcomes: Sequence[Outcome]) -> tuple[Found, ...]:
    """Return what a search has found by now, workload by workload."""
    tuned = tuning_found(study, outcomes)
    (candidate,) = study.sweep.candidates
    assert tuned is not None
    assert isinstance(candidate, TunedCandidate)
    assert candidate.search is not None
    compared = {one.trial.workload.name: one for one in outcomes if one.trial.phase == "compare"}
    rows = []
    for one in tuned.searched:
        weights = importances(candidate.search.space, one.settings, one.lower_is_better)
        fresh, value = compared.get(one.workload), None
        if fresh is not None:
            value = fresh.metrics.get(final_metric(fresh.trial.workload))
        factor = 100.0 if one.in_points else 1.0
        rows.append(Found(one, weights, None if value is None else factor * value))
    return tuple(rows)
