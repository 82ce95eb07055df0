"""The candidates of a sweep file: names, grids, hyperparameters, and who is compared."""

import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from jobs.contract.close_names import find_other_name
from jobs.contract.command_template import plain_name
from jobs.contract.trial import Candidate
from jobs.contract.workloads.catalog import DataError
from jobs.contract.workloads.workload import UserWorkload, Workload
from orchestrator.sweep.document import Invalid, choices
from orchestrator.sweep.key_places import find_workload_key
from orchestrator.sweep.messages import check_printable
from orchestrator.sweep.search_space import (
    Search,
    SearchRun,
    TunedCandidate,
    default_hyperparameters,
)
from orchestrator.sweep.tune_spaces import NOT_HYPERPARAMETERS, add_centre
from orchestrator.sweep.workload_keys import ImageWorkloadKeys, check_command, read_by_command
from thermolion import registry
from thermolion.registry import HyperparameterError

# The name of an argument; Hydra's have dots, slashes and @.
_ARG = r"\w[\w./@:-]*"

Groups = Mapping[str, Sequence[Candidate]]


def expand_candidates(
    entries: Mapping[str, Mapping[str, Any] | None],
    workloads: Sequence[Workload],
    searches: Mapping[str, Search],
    runs: Sequence[SearchRun] = (),
) -> Groups:
    """Return candidates by the name written: several if a list makes a grid, `adamw[lr=0.001]`.

    `searches` has those of tuned candidates, by the name written, and `runs` are what they do. If
    the user's code trains every workload, an optimizer may have any name: that code interprets
    it. Raises Invalid for unknown optimizers and hyperparameters, illegal values, and two
    candidates of equal content.
    """
    if not entries:
        raise Invalid(
            ("candidates",), "no candidates: write at least one, such as adamw: {lr: 1e-3}"
        )
    any_optimizer = all(workload.takes_any_optimizer for workload in workloads)
    entries = dict(entries) | {n: add_centre(entries[n], search) for n, search in searches.items()}
    groups = {
        name: _expand_entry(name, entry or {}, any_optimizer, searches.get(name), runs)
        for name, entry in entries.items()
    }
    _check_args(workloads, groups)
    _check_commands(workloads, entries, groups)
    _check_references(workloads, groups)
    _check_distinct(groups)
    return groups


def pair_candidates(
    groups: Groups, candidate: str, against: Sequence[str] | None, key: str
) -> tuple[tuple[str, str], ...]:
    """Return the pairs (candidate, baseline), by name, of the key `baseline` or `compare`.

    `against` None means all the others. Raises Invalid for a name that is no candidate, or a grid.
    """
    names = [one.name for group in groups.values() for one in group]
    if key == "baseline":
        baseline = _find_one(groups, candidate, (key,))
        return tuple((name, baseline) for name in names if name != baseline)
    compared = _find_one(groups, candidate, (key, "candidate"))
    if against is None:
        against = [name for name in names if name != compared]
    baselines = [_find_one(groups, name, (key, "against")) for name in against]
    if compared in baselines:
        raise Invalid((key, "against"), f"{compared!r} cannot be compared with itself")
    return tuple((compared, baseline) for baseline in dict.fromkeys(baselines))


def pair_all(groups: Groups) -> tuple[tuple[str, str], ...]:
    """Return every pair of candidates, by name, the one that is declared first as candidate.

    Raises Invalid if there is only one.
    """
    names = [one.name for group in groups.values() for one in group]
    if len(names) < 2:
        raise Invalid(("compare",), f"there is only {names[0]!r}: a pair takes two candidates")
    return tuple(itertools.combinations(names, 2))


def _check_distinct(groups: Groups) -> None:
    """Raise Invalid for two candidates of one name or of equal content."""
    by_content: dict[str, Candidate] = {}
    names: set[str] = set()
    for name, candidate in ((name, one) for name, group in groups.items() for one in group):
        if candidate.name in names:
            raise Invalid(("candidates", name), f"two candidates are called {candidate.name!r}")
        names.add(candidate.name)
        twin = by_content.setdefault(candidate.key, candidate)
        if twin is not candidate:
            raise Invalid(
                ("candidates", name),
                f"{candidate.name!r} and {twin.name!r} are equal in content: drop one, or "
                "give them different `replica:` numbers for an A/A study",
            )


def _find_one(groups: Groups, name: str, location: tuple[str, ...]) -> str:
    """Return the name of a candidate; raises Invalid if there is none, or a grid of several."""
    names = [candidate.name for group in groups.values() for candidate in group]
    if name in names:
        return name
    if name in groups:
        points = ", ".join(candidate.name for candidate in groups[name])
        raise Invalid(
            location, f"{name!r} is a grid of {len(groups[name])}: name one point of it: {points}"
        )
    raise Invalid(location, f"{name!r} is no candidate: {choices(name, names)}")


def _check_args(workloads: Sequence[Workload], groups: Groups) -> None:
    """Raise Invalid for `args` that a workload of ours would be given: nothing reads them."""
    images = [workload.name for workload in workloads if not isinstance(workload, UserWorkload)]
    for name, group in groups.items():
        if images and any(candidate.args for candidate in group):
            raise Invalid(
                ("candidates", name, "args"),
                f"`args` are told to your own training (`train:` or `command:`), and workload "
                f"{images[0]!r} is image classification: write what varies of it as a workload "
                "each, or take them out",
            )


def _check_commands(
    workloads: Sequence[Workload],
    entries: Mapping[str, Mapping[str, Any] | None],
    groups: Groups,
) -> None:
    """Raise Invalid for a command that cannot be filled, or that ignores what is varied."""
    for workload in (one for one in workloads if isinstance(one, UserWorkload) and one.command):
        seen: dict[tuple[str, int], str] = {}
        everywhere = {key for group in groups.values() for one in group for key in one.settings}
        for name, group in groups.items():
            for candidate in group:
                written = (entries[name] or {}).keys() - set(NOT_HYPERPARAMETERS)
                try:
                    check_command(workload, candidate, written, everywhere)
                except DataError as error:
                    mistake = f"workload {workload.name!r}, candidate {candidate.name!r}: {error}"
                    raise Invalid(("candidates", name), mistake) from error
                if isinstance(candidate, TunedCandidate):
                    continue  # what it will run is not known yet
                key = (read_by_command(workload, candidate), candidate.replica)
                twin = seen.setdefault(key, candidate.name)
                if twin != candidate.name:
                    raise Invalid(
                        ("candidates", name),
                        f"workload {workload.name!r} runs the same command for {twin!r} and "
                        f"{candidate.name!r}: it uses nothing in which they differ; write in "
                        "{optimizer}, a hyperparameter, or {args}",
                    )


def _expand_entry(
    name: str,
    entry: Mapping[str, Any],
    any_optimizer: bool,
    search: Search | None,
    runs: Sequence[SearchRun],
) -> list[Candidate]:
    try:
        check_printable(name)
    except ValueError as error:
        raise Invalid(("candidates",), str(error)) from error
    optimizer = _find_optimizer(name, entry, any_optimizer)
    defaults = default_hyperparameters(optimizer)
    for key, value in entry.items():
        if optimizer in registry.OPTIMIZERS and key not in (*NOT_HYPERPARAMETERS, *defaults):
            place = _find_place(key, defaults, any_optimizer)
            known = place or choices(key, (*defaults, *NOT_HYPERPARAMETERS))
            if any_optimizer and place is None:
                known += f"; if your own training takes it: args: {{{key}: {json.dumps(value)}}}"
            raise Invalid(
                ("candidates", name, key), f"{optimizer} has no hyperparameter {key!r}: {known}"
            )
    args = _read_args(name, entry, (*NOT_HYPERPARAMETERS, *defaults, *entry))
    axes = {key: _axis(value, defaults.get(key)) for key, value in {**entry, **args}.items()}
    for key in ("args", "optimizer"):
        axes.pop(key, None)
    grid = [key for key, values in axes.items() if len(values) != 1]
    make: Callable[..., Candidate] = Candidate
    if search is not None:
        make = partial(TunedCandidate, search=search)
    group = []
    for point in itertools.product(*axes.values()):
        chosen = dict(zip(axes, point, strict=True))
        label = ",".join(f"{key}={_short(chosen[key])}" for key in grid)
        candidate = make(
            name=f"{name}[{label}]" if grid else name,
            optimizer=optimizer,
            replica=_read_count(name, chosen, "replica"),
            noise_seed=_read_count(name, chosen, "noise_seed"),
            hyperparameters=_read_hyperparameters(
                name, optimizer, {key: chosen[key] for key in axes if key not in args}
            ),
            args={key: chosen[key] for key in args},
        )
        if isinstance(candidate, TunedCandidate):
            _check_settings(name, candidate, runs)
        group.append(candidate)
    if not group:
        empty = next(key for key, values in axes.items() if not values)
        raise Invalid(("candidates", name, empty), "the list is empty: a grid of nothing")
    return group


def _find_place(key: str, known: Collection[str], any_optimizer: bool) -> str | None:
    """Say which part of the file has a key that is no hyperparameter; None if none has."""
    if find_other_name(key, known):
        return None
    if find_other_name(key, ("seeds",)):
        return "seeds are those of the whole sweep, equal for all candidates: seeds: 5"
    # Training of the user's own has none of our keys.
    return None if any_optimizer else find_workload_key(key, ImageWorkloadKeys.model_fields)


def _read_args(name: str, entry: Mapping[str, Any], taken: Collection[str]) -> Mapping[str, Any]:
    """Return the `args` of a candidate as written; raises Invalid for what cannot be one."""
    args = entry.get("args", {})
    if not isinstance(args, Mapping):
        raise Invalid(
            ("candidates", name, "args"), f"{args!r} is no mapping: write args: {{bs: [32, 64]}}"
        )
    seen: dict[str, str] = {plain_name(key): key for key in taken}
    for key, value in args.items():
        place = ("candidates", name, "args", key)
        if not re.fullmatch(_ARG, key):
            raise Invalid(
                place,
                f"{key!r} is no name of an argument: write it without dashes before it and "
                "without =, spaces and braces, such as batch-size or model.width",
            )
        if (twin := seen.get(plain_name(key))) is not None:
            raise Invalid(
                place,
                f"the candidate has {twin!r} already, as a setting of its optimizer or an "
                "argument: write its value there, or give the argument another name",
            )
        seen[plain_name(key)] = key
        try:
            registry.validate("args", value)
        except HyperparameterError as error:
            raise Invalid(place, str(error).replace("args is", f"{key} is", 1)) from error
    return args


def _check_settings(name: str, tuned: TunedCandidate, runs: Sequence[SearchRun]) -> None:
    """Raise Invalid for settings of which each value is legal, but not all together."""
    numbers = range(1, (1 + tuned.search.widen) * tuned.search.trials + 1)
    # Of one hyperparameter any value is as legal as another.
    for run, number in itertools.product(
        runs[: None if len(tuned.search.space) > 1 else 1], numbers
    ):
        try:
            tuned.setting(number, None, run)
        except HyperparameterError as error:
            raise Invalid(("candidates", name), f"tuned, {number}: {error}") from error


def _find_optimizer(name: str, entry: Mapping[str, Any], any_optimizer: bool) -> str:
    """Return the registered name of an optimizer, or the dotted path of the user's own.

    With `any_optimizer`, any other text is accepted, too.
    """
    written = entry.get("optimizer", name)
    location = ("candidates", name, "optimizer") if "optimizer" in entry else ("candidates", name)
    for known, spec in registry.OPTIMIZERS.items():
        if written in (known, spec.path):
            return known
    if isinstance(written, str) and (":" in written or (any_optimizer and written.strip())):
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
        for workload in workloads:
            _check_fed_reference(name, group, workload)
        gated = [c for c in group if c.optimizer in registry.OPTIMIZERS]  # not the user's
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


def _check_fed_reference(name: str, group: Sequence[Candidate], workload: Workload) -> None:
    """Raise Invalid for a reference above the global batch that is to feed all of v."""
    for candidate in group:
        batch = candidate.hyperparameters.get("reference_batch") or 0
        fed = candidate.hyperparameters.get("replicas_feed") == "all"
        above = workload.global_batch is not None and batch > workload.global_batch
        if candidate.optimizer in registry.OPTIMIZERS and fed and above:
            raise Invalid(
                ("candidates", name),
                f"reference_batch is {batch} with replicas_feed: all, and workload "
                f"{workload.name!r} has a global batch of {workload.global_batch}: set a "
                "reference up to that, or leave replicas_feed out",
            )


def _read_hyperparameters(name: str, optimizer: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    spec, defaults = registry.OPTIMIZERS.get(optimizer), default_hyperparameters(optimizer)
    filled = {**defaults, **{k: v for k, v in chosen.items() if k not in NOT_HYPERPARAMETERS}}
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


def _read_count(name: str, chosen: Mapping[str, Any], key: str) -> int:
    value = chosen.get(key, 0)
    if type(value) is not int or value < 0:  # true and false are no numbers
        raise Invalid(("candidates", name, key), f"{value!r} is not a whole number, 0 or more")
    return value


def _short(value: Any) -> str:
    return "/".join(map(_short, value)) if isinstance(value, (list, tuple)) else f"{value}"
