"""What an edit of a sweep does to a recorded study: which trials it adds, removes or orphans.

`compare_plans` is a pure function of trials and outcomes. Refuses nothing: `submit` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from jobs.contract.trial import Trial
from orchestrator.progress.status import Status
from orchestrator.study.study import Study
from orchestrator.sweep.search_space import TunedCandidate
from orchestrator.sweep.sweep import Sweep
from tracking.outcomes import Outcome

_ABSENT = object()


@dataclass(frozen=True)
class Edit:
    """One key that was edited, and how many trials with something measured it leaves behind."""

    key: str
    old: str
    new: str
    trials: int

    def __str__(self) -> str:
        return (
            f"{self.key}: {self.old} -> {self.new} ({_count(self.trials, 'trial')} with results)"
        )


@dataclass(frozen=True)
class PlanChange:
    """What separates the recorded plan from a new one.

    `added`, `removed` and `orphaned` are trial ids, each in one of them. `edits` are the keys that
    gave orphaned trials another id; `hidden` counts the removed trials with something measured.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    orphaned: tuple[str, ...]
    edits: tuple[Edit, ...]
    hidden: int

    def refusal(self, study: str) -> str:
        """Return the message of what an edit would leave behind, and of what to do instead."""
        edits = "; ".join(map(str, self.edits))
        return (
            f"this edit of {study!r} leaves {_count(len(self.orphaned), 'trial')} with results "
            f"behind: {edits}. Give the sweep a new `study:` name to keep both, or pass "
            "--accept-change: the old results stay in the logs and out of the comparison"
        )

    def removal(self) -> str:
        """Return the message of what the sweep no longer asks for."""
        hidden = f" ({self.hidden} with results)" if self.hidden else ""
        return (
            f"{_count(len(self.removed), 'recorded trial')}{hidden} no longer asked for: what is "
            "recorded of them stays in the logs and out of the comparison"
        )


@dataclass(frozen=True)
class SearchEdit:
    """An edit of the searches that tune workloads: `key` was `old` and is `new`.

    `moves` has the places (phase, workload, candidate, block) of trials that it makes others,
    whether their settings are known yet or not.
    """

    key: str
    old: str
    new: str
    moves: frozenset[tuple[str, str, str, int]]


def compare_plans(
    recorded: Sequence[Trial],
    planned: Sequence[Trial],
    outcomes: Mapping[str, Outcome],
    root_seeds: tuple[int, int] = (0, 0),
    searches: Sequence[SearchEdit] = (),
) -> PlanChange:
    """Compare a recorded plan with a new one; `outcomes` are by trial id, `root_seeds` old, new.

    A trial is orphaned if something was measured for it and the new plan has another id for its
    workload, candidate and block, by name. Renaming changes no id, so it changes nothing.
    """
    old = {trial.id: trial for trial in recorded}
    new = {trial.id: trial for trial in planned}
    places = {_place(trial): trial for trial in planned}
    moves = {place: (of.key, of.old, of.new) for of in searches for place in of.moves}
    gone = [trial for trial_id, trial in old.items() if trial_id not in new]
    measured = [trial for trial in gone if _is_measured(outcomes.get(trial.id))]
    orphaned = [trial for trial in measured if _place(trial) in places.keys() | moves.keys()]
    moved = {_place(trial) for trial in gone}
    edited: dict[tuple[str, str, str], set[str]] = {}
    for trial in orphaned:
        place = _place(trial)
        for edit in (
            [moves[place]]
            if place in moves
            else _find_differences(trial, places[place], root_seeds)
        ):
            edited.setdefault(edit, set()).add(trial.id)
    left = {trial.id for trial in orphaned}
    removed = [t for t in gone if _place(t) not in places and t.id not in left]
    return PlanChange(
        # A trial that an edit merely moved is no addition.
        added=tuple(i for i, trial in new.items() if i not in old and _place(trial) not in moved),
        removed=tuple(trial.id for trial in removed),
        orphaned=tuple(trial.id for trial in orphaned),
        edits=tuple(Edit(*edit, len(trials)) for edit, trials in edited.items()),
        hidden=sum(_is_measured(outcomes.get(trial.id)) for trial in removed),
    )


def compare_with_recorded(study: Study, status: Status) -> PlanChange | None:
    """Compare a study with what its folder has recorded; None if nothing is recorded yet."""
    if not study.layout.sweep.exists():
        return None
    outcomes = {o.trial.id: o for o in (*status.outcomes, *status.unplanned)}
    recorded = study.recorded()
    if recorded is None:
        return compare_plans([o.trial for o in status.unplanned], study.trials, outcomes)
    seeds = recorded.sweep.keys.root_seed, study.sweep.keys.root_seed
    planned = study.trials
    searches = [*_find_search_edits(recorded.sweep, study.sweep, planned)]
    return compare_plans(recorded.trials, planned, outcomes, seeds, searches)


def _find_search_edits(old: Sweep, new: Sweep, planned: Sequence[Trial]) -> Iterator[SearchEdit]:
    """Yield what an edit does to the searches of workloads that are tuned before and after it."""
    if old.keys.tune is None or new.keys.tune is None:
        return
    counts = old.searches, new.searches
    firsts = old.keys.tune.first_search, new.keys.tune.first_search
    moved = [
        block
        for block in new.keys.seeds.blocks
        if firsts[0] + block % counts[0] != firsts[1] + block % counts[1]
    ]
    if moved:
        tuned = [one.name for one in new.candidates if isinstance(one, TunedCandidate)]
        places = product(("compare",), [one.name for one in new.workloads], tuned, moved)
        key, values = ("first_search", firsts) if counts[0] == counts[1] else ("repeats", counts)
        yield SearchEdit(f"tune.{key}", str(values[0]), str(values[1]), frozenset(places))
    # The points of its first search are those of the study, and of others are not.
    leading = old.search_runs[0], new.search_runs[0]
    if leading[0].of != leading[1].of:
        before, after = (one.compared.name for one in leading)
        moves = [
            _place(trial)
            for trial in planned
            if trial.phase == "tune"
            and trial.workload.name in (before, after)
            and TunedCandidate.search_of(trial.candidate) == 0
        ]
        yield SearchEdit("the first of `workloads`", before, after, frozenset(moves))


def _place(trial: Trial) -> tuple[str, str, str, int]:
    return trial.phase, trial.workload.name, trial.candidate.name, trial.block


def _is_measured(outcome: Outcome | None) -> bool:
    """Return True if there is something to lose; a trial that failed at once has nothing."""
    return outcome is not None and outcome.is_measured


def _find_differences(
    old: Trial, new: Trial, root_seeds: tuple[int, int]
) -> Iterator[tuple[str, str, str]]:
    workload = f"workloads.{old.workload.name}"
    candidate = f"candidates.{old.candidate.name}"
    yield from _compare_mappings(workload, old.workload.content(), new.workload.content())
    yield from _compare_mappings(candidate, old.candidate.content(), new.candidate.content())
    before, after = old.content(), new.content()
    for parts in (before, after):
        for compared in ("workload", "candidate", "seeds"):
            del parts[compared]
    for key, name in {  # as a sweep file calls them
        "threads": "resources.cpus_per_task",
        "precision": f"{workload}.precision",
        "world_size": f"{workload}.ranks",
    }.items():
        yield from _compare_mappings("", {name: before.pop(key)}, {name: after.pop(key)})
    yield from _compare_mappings("", before, after)
    if root_seeds[0] != root_seeds[1]:
        yield "root_seed", str(root_seeds[0]), str(root_seeds[1])


def _compare_mappings(
    prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield every key that differs with both values; nested mappings are compared key by key.

    The name `hyperparameters` is left out: a sweep writes `candidates.adamw.lr`.
    """
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if before == after and type(before) is type(after):
            continue
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _compare_mappings(
                prefix if key == "hyperparameters" else name, before, after
            )
        else:
            yield name, _format(before), _format(after)


def _format(value: Any) -> str:
    return "(none)" if value is _ABSENT or value is None else str(value)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
