"""The candidates of a sweep file: names, grids, hyperparameters, and who is compared."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.contract.catalog import DataError
from jobs.contract.trial import Candidate, UserWorkload, Workload
from orchestrator.sweep.document import Invalid, choices
from orchestrator.sweep.messages import explain_later_key
from orchestrator.sweep.search_space import Search, TunedCandidate
from orchestrator.sweep.tune_spaces import add_centre
from orchestrator.sweep.workload_keys import check_command, read_by_command
from thermolion import registry
from thermolion.registry import HyperparameterError

_OWN_KEYS = {"optimizer", "replica", "noise_seed"}

Groups = Mapping[str, Sequence[Candidate]]


def expand_candidates(
    entries: Mapping[str, Mapping[str, Any] | None],
    workloads: Sequence[Workload],
    searches: Mapping[str, Search] | None = None,
) -> Groups:
    """Return candidates by the name written; more than one where a list makes a grid.

    `searches` are of those that are tuned, by the name written.

    Where the user's own code trains everything, an optimizer may have any name: that code knows
    what to make of it.

    Grid points are candidates of their own, called `adamw[lr=0.001]`. Raises Invalid for
    unknown optimizers and hyperparameters, illegal values, and two candidates of equal content.
    """
    if not entries:
        raise Invalid(
            ("candidates",), "no candidates: write at least one, such as adamw: {lr: 1e-3}"
        )
    free = all(workload.takes_any_optimizer for workload in workloads)
    searches = searches or {}
    entries = dict(entries) | {n: add_centre(entries[n], search) for n, search in searches.items()}
    groups = {
        name: _group(name, entry or {}, free, searches.get(name))
        for name, entry in entries.items()
    }
    _check_commands(workloads, entries, groups)
    _check_references(workloads, groups)
    seen: dict[str, Candidate] = {}
    names: set[str] = set()
    for name, group in groups.items():
        for candidate in group:
            if candidate.name in names:
                raise Invalid(
                    ("candidates", name), f"two candidates are called {candidate.name!r}"
                )
            names.add(candidate.name)
            twin = seen.setdefault(candidate.key, candidate)
            if twin is not candidate:
                raise Invalid(
                    ("candidates", name),
                    f"{candidate.name!r} and {twin.name!r} are equal in content: drop one, or "
                    "give them different `replica:` numbers for an A/A study",
                )
    return groups


def pair_candidates(
    groups: Groups, candidate: str, against: Sequence[str] | None, key: str
) -> tuple[tuple[str, str], ...]:
    """Return (candidate, baseline) pairs of names; `against` None means all the others.

    Raises Invalid for names that are no candidate, or a grid of several.
    """
    if key == "baseline":
        baseline = _single(groups, candidate, (key,))
        others = [c.name for group in groups.values() for c in group if c.name != baseline]
        return tuple((other, baseline) for other in others)
    asked = _single(groups, candidate, (key, "candidate"))
    if against is None:
        against = [c.name for group in groups.values() for c in group if c.name != asked]
    baselines = [_single(groups, name, (key, "against")) for name in against]
    if asked in baselines:
        raise Invalid((key, "against"), f"{asked!r} cannot be compared with itself")
    return tuple((asked, baseline) for baseline in dict.fromkeys(baselines))


def _single(groups: Groups, name: str, location: tuple[str, ...]) -> str:
    names = [candidate.name for group in groups.values() for candidate in group]
    if name in names:
        return name
    if name in groups:
        points = ", ".join(candidate.name for candidate in groups[name])
        raise Invalid(
            location, f"{name!r} is a grid of {len(groups[name])}: name one point of it: {points}"
        )
    raise Invalid(location, f"{name!r} is no candidate: {choices(name, names)}")


def _check_commands(
    workloads: Sequence[Workload],
    entries: Mapping[str, Mapping[str, Any] | None],
    groups: Groups,
) -> None:
    """Raise Invalid for a command that cannot be filled, or that ignores what is varied."""
    for workload in (one for one in workloads if isinstance(one, UserWorkload) and one.command):
        seen: dict[tuple[str, int], str] = {}
        for name, group in groups.items():
            for candidate in group:
                try:
                    check_command(workload, candidate, (entries[name] or {}).keys() - _OWN_KEYS)
                except DataError as error:
                    said = f"workload {workload.name!r}, candidate {candidate.name!r}: {error}"
                    raise Invalid(("candidates", name), said) from error
                if isinstance(candidate, TunedCandidate):
                    continue  # what it will run is not known yet
                key = (read_by_command(workload, candidate), candidate.replica)
                twin = seen.setdefault(key, candidate.name)
                if twin != candidate.name:
                    raise Invalid(
                        ("candidates", name),
                        f"workload {workload.name!r} runs the same command for {twin!r} and "
                        f"{candidate.name!r}: it uses nothing in which they differ; write in "
                        "{optimizer}, or a hyperparameter",
                    )


def _group(
    name: str, entry: Mapping[str, Any], free: bool, search: Search | None
) -> list[Candidate]:
    if not name.strip() or not name.isprintable():
        raise Invalid(("candidates",), f"{name!r} is no name: use printable characters")
    optimizer = _optimizer(name, entry, free)
    spec = registry.OPTIMIZERS.get(optimizer)
    defaults = spec.settable if spec else {}
    for key in entry:
        if spec and key not in (*_OWN_KEYS, *defaults):
            message = explain_later_key(
                key
            ) or f"{optimizer} has no hyperparameter {key!r}: " + choices(
                key, (*defaults, *_OWN_KEYS)
            )
            raise Invalid(("candidates", name, key), message)
    axes = {key: _axis(value, defaults.get(key)) for key, value in entry.items()}
    axes.pop("optimizer", None)
    grid = [key for key, values in axes.items() if len(values) != 1]
    group = []
    for point in itertools.product(*axes.values()):
        chosen = dict(zip(axes, point, strict=True))
        label = ",".join(f"{key}={_short(chosen[key])}" for key in grid)
        fields: dict[str, Any] = {
            "name": f"{name}[{label}]" if grid else name,
            "optimizer": optimizer,
            "replica": _count(name, chosen, "replica"),
            "noise_seed": _count(name, chosen, "noise_seed"),
            "hyperparameters": _hyperparameters(name, optimizer, chosen),
        }
        group.append(
            Candidate(**fields) if search is None else TunedCandidate(**fields, search=search)
        )
        if search is not None:
            _check_settings(name, group[-1], search)
    if not group:
        empty = next(key for key, values in axes.items() if not values)
        raise Invalid(("candidates", name, empty), "the list is empty: a grid of nothing")
    return group


def _check_settings(name: str, tuned: Candidate, search: Search) -> None:
    """Raise Invalid for settings that are legal one by one and not together."""
    assert isinstance(tuned, TunedCandidate)
    for number in range(1, (1 + search.widen) * search.trials + 1):
        try:
            tuned.setting(number, None)
        except HyperparameterError as error:
            raise Invalid(("candidates", name), f"tuned, {number}: {error}") from error


def _optimizer(name: str, entry: Mapping[str, Any], free: bool) -> str:
    """Return the registered name, or the dotted path of an optimizer that is not registered.

    `free` lets any other text stand, too.
    """
    written = entry.get("optimizer", name)
    location = ("candidates", name, "optimizer") if "optimizer" in entry else ("candidates", name)
    for known, spec in registry.OPTIMIZERS.items():
        if written in (known, spec.path):
            return known
    if isinstance(written, str) and (":" in written or (free and written.strip())):
        return written
    raise Invalid(
        location,
        f"unknown optimizer {written!r}: {choices(written, registry.OPTIMIZERS)}, "
        "or write `optimizer: module:Class`",
    )


def _axis(value: Any, default: Any) -> list[Any]:
    """Return the grid that a value spans; `betas: [0.9, 0.99]` is one value, not two."""
    if not isinstance(value, list):
        return [value]
    if isinstance(default, tuple) and not any(isinstance(item, list) for item in value):
        return [value]
    return value


def _check_references(workloads: Sequence[Workload], groups: Groups) -> None:
    """Raise Invalid for a gate's reference that a workload of one rank cannot give it."""
    for name, group in groups.items():
        gated = [c for c in group if c.optimizer in registry.OPTIMIZERS]  # not somebody's own
        for batch in {candidate.hyperparameters.get("reference_batch") for candidate in gated}:
            for workload in workloads:
                known = workload.ranks == 1 and workload.global_batch is not None
                if known and batch not in (None, workload.global_batch):
                    raise Invalid(
                        ("candidates", name),
                        f"reference_batch is {batch}, and workload {workload.name!r} has a global "
                        f"batch of {workload.global_batch} on one rank: how far gradients spread "
                        "takes two or more. Give it `ranks: 2`, or leave reference_batch out",
                    )


def _hyperparameters(name: str, optimizer: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    spec = registry.OPTIMIZERS.get(optimizer)
    defaults = spec.settable if spec else {}
    filled = {**defaults, **{k: v for k, v in chosen.items() if k not in _OWN_KEYS}}
    resolved = {}
    for key, value in filled.items():
        try:
            resolved[key] = registry.validate(key, value, defaults.get(key))
        except HyperparameterError as error:
            raise Invalid(("candidates", name, key), str(error)) from error
    try:
        registry.check_together(optimizer, resolved)
    except HyperparameterError as error:
        raise Invalid(("candidates", name), str(error)) from error
    return spec.recorded(resolved) if spec else resolved


def _count(name: str, chosen: Mapping[str, Any], key: str) -> int:
    value = chosen.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(("candidates", name, key), f"{value!r} is not a whole number, 0 or more")
    return value


def _short(value: Any) -> str:
    return "/".join(map(_short, value)) if isinstance(value, (list, tuple)) else f"{value}"
