"""From the tuning keys of a sweep file to the search of every candidate.

Raises Invalid for what no search can be made of; plans no trial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from jobs.contract.command_template import find_placeholders
from jobs.contract.workloads import catalog
from jobs.contract.workloads.workload import ImageWorkload, UserWorkload, Workload
from orchestrator.sweep.document import Invalid, Location, choices
from orchestrator.sweep.keys import ProxyKeys, Seeds, TuneKeys
from orchestrator.sweep.search_space import (
    MOST_DIMENSIONS,
    Axis,
    Search,
    SearchRun,
    round_digits,
    search_root,
    tuned_for,
)
from orchestrator.sweep.space_keys import ARGS, RangeKeys
from thermolion import registry
from thermolion.registry import HyperparameterError, OptimizerSpec

_ADVICE = "write {NAME: {lr: {log: [1e-4, 1e-2]}}}, or leave it out for the usual ones"
_EVERY = "*"
_USUAL_SEARCHES = 5  # a workload, at most, unless there are looks
_DECADES = 3  # of the usual space of a learning rate, around its published value
# What stands beside the hyperparameters of a candidate and is none.
NOT_HYPERPARAMETERS = ("optimizer", "args", "replica", "noise_seed")

Entries = Mapping[str, Mapping[str, Any] | None]


def count_searches(keys: TuneKeys, seeds: Seeds) -> int:
    """Return the number of searches a workload: block b is compared by search b mod that.

    By default one a block, five at most, so that more seeds move no block to another search, and
    of a list no more than all have blocks; with looks one a block of the last look, so that a
    later look brings fresh searches as well.
    """
    if keys.repeats is not None:
        return keys.repeats
    if seeds.looks:
        return seeds.looks[-1]
    most = min(len(seeds.blocks), _USUAL_SEARCHES)
    return next(count for count in range(most, 0, -1) if not find_idle(count, seeds.blocks))


def find_idle(count: int, blocks: Sequence[int]) -> list[int]:
    """Return which of `count` searches have no block of the comparison."""
    return sorted({*range(count)} - {block % count for block in blocks})


def check_repeats(keys: TuneKeys, seeds: Seeds) -> None:
    """Raise Invalid unless every search has blocks of the comparison."""
    count, blocks = count_searches(keys, seeds), seeds.blocks
    place = ("tune", "repeats")
    if seeds.looks and count not in (1, seeds.looks[-1]):
        raise Invalid(
            place,
            f"{count} searches, and the last look has {seeds.looks[-1]} seeds: with looks each "
            f"block has a search of its own (write {seeds.looks[-1]}, or leave it out) or all "
            "have one (write 1)",
        )
    if count > len(blocks):
        raise Invalid(
            place,
            f"{count} searches, and {len(blocks)} block{'s' * (len(blocks) > 1)} to compare their "
            f"settings on: write up to {len(blocks)}, or more `seeds`",
        )
    if idle := find_idle(count, blocks):
        raise Invalid(
            place,
            f"{count} searches, and block b of the list {list(blocks)} has the settings of search "
            f"b mod {count}: none has those of {', '.join(map(str, idle))}; write fewer "
            "`repeats` or none, or other `seeds`",
        )


def read_searches(
    keys: TuneKeys, entries: Entries, workloads: Sequence[Workload], root_seed: int
) -> Mapping[str, Search]:
    """Return the search of every tuned candidate, by the name written."""
    for name in keys.untuned:
        _check_known(name, entries, ("tune", "untuned"))
    tuned = [name for name in entries if name not in keys.untuned]
    if not tuned:
        raise Invalid(("tune", "untuned"), "all candidates: take `tune` out")
    if keys.space is not None and not keys.space:
        raise Invalid(("tune", "space"), f"the space is empty: {_ADVICE}")
    for name in keys.space or {}:
        if name != _EVERY:
            _check_known(name, entries, ("tune", "space"))
        if name in keys.untuned:
            raise Invalid(("tune", "space", name), f"{name!r} is in `untuned` as well")
    _check_workloads(keys, entries, workloads)
    trials = _read_trials(keys, tuned)
    searches = {
        name: Search(
            _read_space(name, keys, entries[name] or {}),
            trials[name],
            keys.seeds,
            keys.ranks,
            root_seed,
            keys.search,
            keys.reduction_factor or Search.reduction,
            keys.rungs or Search.rungs,
            keys.widen,
            _find_args(name, keys),
        )
        for name in tuned
    }
    if keys.proxy is not None:
        _check_proxy(keys.proxy, workloads)
    if keys.search == "asha":
        trained = [_make_proxy(one, keys.proxy) for one in workloads]
        _check_rungs(searches[tuned[0]], trained)
    return searches


def plan_searches(
    keys: TuneKeys, seeds: Seeds, workloads: Sequence[Workload], root_seed: int
) -> tuple[SearchRun, ...]:
    """Return the searches of all workloads, search by search, with the points of each.

    Workloads that differ in ranks alone are tuned once if tuning has ranks of its own.
    """
    runs = []
    of = [tuned_for(one, keys.ranks) for one in workloads]
    tuned = dict(zip(reversed(of), reversed(workloads), strict=True))
    for number in range(keys.first_search, keys.first_search + count_searches(keys, seeds)):
        for key in dict.fromkeys(of):
            compared = replace(tuned[key], ranks=keys.ranks or tuned[key].ranks)
            root = search_root(root_seed, number, None if number == 0 and key == of[0] else key)
            cheaper = _make_proxy(compared, keys.proxy)
            runs.append(SearchRun(number, key, compared, cheaper, root))
    return tuple(runs)


def describe_proxy(proxy: ProxyKeys | None) -> str | None:
    """Return a proxy in words, such as `2 epochs, 5,000 images`; None without one."""
    if proxy is None:
        return None
    sizes = {"epochs": proxy.epochs, "images": proxy.train_images, "steps": proxy.steps}
    return ", ".join(f"{size:,} {what}" for what, size in sizes.items() if size is not None)


def _make_proxy(workload: Workload, proxy: ProxyKeys | None) -> Workload:
    """Return the workload with the sizes of a proxy, as far as it is of their kind."""
    if proxy is None:
        return workload
    if isinstance(workload, ImageWorkload):
        images = proxy.train_images or workload.train_images
        return replace(workload, epochs=proxy.epochs or workload.epochs, train_images=images)
    assert isinstance(workload, UserWorkload)
    return replace(workload, steps=proxy.steps or workload.steps)


def _check_proxy(proxy: ProxyKeys, workloads: Sequence[Workload]) -> None:
    """Raise Invalid unless a proxy is cheaper than every workload, by keys of its kind."""
    used: set[str] = set()
    for workload in workloads:
        kind = ("epochs", "train_images") if isinstance(workload, ImageWorkload) else ("steps",)
        keys = [key for key in kind if getattr(proxy, key) is not None]
        if not keys:
            raise Invalid(
                ("tune", "proxy"),
                f"nothing is cheaper than workload {workload.name!r}, which has "
                f"{' and '.join(kind)}: name {' or '.join(kind)} as well",
            )
        used.update(keys)
        if keys == ["steps"]:
            _check_steps(workload)
        pairs = {key: (getattr(proxy, key), _size(workload, key)) for key in keys}
        for key, (size, whole) in pairs.items():
            if whole is not None and size > whole:
                raise Invalid(
                    ("tune", "proxy", key), f"{size}, and workload {workload.name!r} has {whole}"
                )
        if all(size == whole for size, whole in pairs.values()):
            sizes = " and ".join(f"{size} {key}" for key, (size, _) in pairs.items())
            raise Invalid(
                ("tune", "proxy"),
                f"workload {workload.name!r} has {sizes} itself, so nothing is cheaper: write "
                "less, or leave `proxy` out",
            )
    for key in proxy.model_fields_set - used:
        if getattr(proxy, key) is not None:
            what = "your own training" if key == "steps" else "image classification"
            raise Invalid(("tune", "proxy", key), f"no workload is {what}: leave it out")


def _size(workload: Workload, key: str) -> int | None:
    """Return what a workload has of a proxy's key; None for all images of unknown data."""
    if isinstance(workload, ImageWorkload) and key == "train_images":
        known = catalog.DATASETS.get(workload.dataset)
        if workload.train_images is None and known is not None:
            count: int = workload.dataset_options.get("images", known.train_images)
            return count - round(count / 10)  # they validate
    size: int | None = getattr(workload, key)
    return size


def _check_steps(workload: Workload) -> None:
    """Raise Invalid if fewer steps would not reach the user's training."""
    place = ("tune", "proxy", "steps")
    if workload.steps is None:
        raise Invalid(
            place,
            f"workload {workload.name!r} declares no `steps`, so that fewer of them mean nothing: "
            "declare them",
        )
    if workload.command is not None and not _uses_steps(workload.command):
        raise Invalid(
            place,
            f"the command of workload {workload.name!r} does not use {{steps}}, so that fewer of "
            "them would change nothing: write it in",
        )


def _uses_steps(command: str) -> bool:
    return bool(find_placeholders(command) & {"steps", "trial_file"})


def add_centre(entry: Mapping[str, Any] | None, search: Search) -> dict[str, Any]:
    """Return a candidate as written, with the values at the centre of its space."""
    centre = {
        name: [axis.choices[0]] if axis.kind == "choice" else axis.value_at(0.5)
        for name, axis in search.space.items()
    }
    written = {**(entry or {})}
    if search.args:
        tuned = {name: centre.pop(name) for name in sorted(search.args)}
        written["args"] = {**_read_args(entry), **tuned}
    return written | centre


def _read_args(entry: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the arguments of a candidate as far as they are some; others are refused later."""
    args = (entry or {}).get("args")
    return args if isinstance(args, dict) else {}


def _check_known(name: str, entries: Entries, place: Location) -> None:
    if name not in entries:
        raise Invalid(place, f"{name!r} is no candidate: {choices(name, [*entries])}")


def _read_trials(keys: TuneKeys, tuned: Sequence[str]) -> Mapping[str, int]:
    trials = keys.trials if isinstance(keys.trials, dict) else dict.fromkeys(tuned, keys.trials)
    for name in trials:
        if name not in tuned:
            raise Invalid(("tune", "trials"), f"{name!r} is not tuned: {choices(name, tuned)}")
    missing = [name for name in tuned if name not in trials]
    if missing:
        raise Invalid(("tune", "trials"), f"{', '.join(missing)} has none: name every candidate")
    budgets = trials | dict.fromkeys(keys.untuned, 0)
    if len(set(budgets.values())) > 1 and not keys.allow_unequal:
        listed = ", ".join(f"{name} {count}" for name, count in budgets.items())
        raise Invalid(
            ("tune", "untuned" if keys.untuned else "trials"),
            f"unequal budgets ({listed}) favour whoever has more: give all the same, or write "
            "`allow_unequal: true`, which the report then says",
        )
    return trials


def _check_workloads(keys: TuneKeys, entries: Entries, workloads: Sequence[Workload]) -> None:
    for workload in workloads:
        if not workload.holds_out:
            raise Invalid(
                ("tune",),
                f"workload {workload.name!r} has `split: replication`, which holds nothing out: "
                "settings are chosen by validation data alone",
            )
        metric = workload.metric_spec.metric
        if "test" in metric.lower():
            raise Invalid(
                ("tune",),
                f"workload {workload.name!r} has the metric {metric!r}: settings "
                "are chosen by validation data alone, so name such a metric, and the other one "
                "`final_metric`",
            )
        if keys.ranks in (None, workload.ranks):
            continue
        if workload.global_batch is None:
            raise Invalid(
                ("tune", "ranks"),
                f"workload {workload.name!r} is your own training on {workload.ranks} ranks, "
                "whose global batch is not known here: it may be another one on "
                f"{keys.ranks}, so leave `ranks` out",
            )
        for name, entry in entries.items():
            gate = (entry or {}).get("gate", "averaged")
            if gate != "averaged" or "reference_batch" in (entry or {}):
                raise Invalid(
                    ("tune", "ranks"),
                    f"{name!r} has the gate {gate!r}, which is another one on {keys.ranks} ranks "
                    f"than on {workload.ranks} (workload {workload.name!r}): leave `ranks` out",
                )


def _check_rungs(search: Search, workloads: Sequence[Workload]) -> None:
    for workload in workloads:
        if search.rungs_on(workload) is not None:
            continue
        if workload.budget is None:
            why = "declares no `steps`, of which rungs are parts: declare them"
        else:
            why = f"has {workload.budget} {workload.unit}s: too few to end after an earlier one"
        raise Invalid(
            ("tune", "search"), f"asha, and workload {workload.name!r} {why}, or write sobol"
        )


def _read_space(name: str, keys: TuneKeys, entry: Mapping[str, Any]) -> Mapping[str, Axis]:
    written = keys.space or {}
    known = _find_spec(name, entry)
    key = name if name in written else _EVERY
    if key not in written:
        place: Location = ("candidates", name)
        usual = usual_space(name, entry)
        if usual is None:
            raise Invalid(
                ("tune",),
                f"no published learning rate of {name!r} is known here: write its `space`",
            )
        space = usual
    else:
        place = ("tune", "space", key)
        if not written[key]:
            raise Invalid(place, f"the space is empty: {_ADVICE}")
        space = {}
        for written_as, ranges in written[key].items():
            is_arg, parameter = written_as.startswith(ARGS), written_as.removeprefix(ARGS)
            if parameter in space:
                raise Invalid(place, f"{parameter!r} is here as an argument as well: keep one")
            at = (*place, *(("args",) if is_arg else ()), parameter)
            space[parameter] = _read_axis(None if is_arg else known, parameter, ranges, at)
    if all(axis.kind == "choice" for axis in space.values()):
        raise Invalid(
            place, "only choices: write one range at least, or a grid of `candidates` instead"
        )
    if len(space) > MOST_DIMENSIONS:
        raise Invalid(place, f"{len(space)} hyperparameters: {MOST_DIMENSIONS} is the most")
    for parameter in space:
        if parameter in entry or parameter in _read_args(entry):
            raise Invalid(
                ("candidates", name, parameter),
                f"{parameter} of {name!r} is tuned, so a value of its own means nothing: take it "
                "out here, or put the candidate in `tune.untuned`",
            )
    return space


def _find_args(name: str, keys: TuneKeys) -> frozenset[str]:
    """Return the names of a candidate's space that are arguments of its training."""
    written = keys.space or {}
    space = written.get(name, written.get(_EVERY, {}))
    return frozenset(one.removeprefix(ARGS) for one in space if one.startswith(ARGS))


def usual_space(name: str, entry: Mapping[str, Any]) -> Mapping[str, Axis] | None:
    """Return the space of a candidate that none is written for; None if its optimizer has none."""
    known = _find_spec(name, entry)
    centre = (known.search_lr or known.settable.get("lr")) if known else None
    return None if centre is None else {"lr": rates_around(centre)}


def early_space(name: str, entry: Mapping[str, Any]) -> Mapping[str, Axis] | None:
    """Return the usual space of early versions, around the default; None if it is today's."""
    known = _find_spec(name, entry)
    if known is None or known.search_lr is None:
        return None
    return {"lr": rates_around(known.settable["lr"])}


def rates_around(centre: float) -> Axis:
    """Return the usual range of a learning rate around `centre`."""
    half = 10 ** (_DECADES / 2)
    low, high = (float(f"{centre * factor:.3g}") for factor in (1 / half, half))
    return Axis("log", low, high)


def _find_spec(name: str, entry: Mapping[str, Any]) -> OptimizerSpec | None:
    optimizer = entry.get("optimizer", name)
    return next((s for n, s in registry.OPTIMIZERS.items() if optimizer in (n, s.path)), None)


def _read_axis(
    known: OptimizerSpec | None, parameter: str, ranges: RangeKeys, place: Location
) -> Axis:
    if parameter in NOT_HYPERPARAMETERS or (known and parameter not in known.settable):
        names = choices(parameter, known.settable if known else ())
        raise Invalid(place, f"{parameter!r} is no hyperparameter here: {names}")
    default = known.settable.get(parameter) if known else None
    ends: Sequence[Any]
    if ranges.choice is not None:
        if not ranges.choice:
            raise Invalid(place, "the choice is empty: write two values or more")
        axis, ends = Axis("choice", choices=tuple(ranges.choice)), ranges.choice
    else:
        kind: Literal["log", "uniform"] = "uniform" if ranges.log is None else "log"
        low, high = ranges.log or ranges.uniform or (0.0, 0.0)
        if kind == "log" and low <= 0:
            raise Invalid(place, f"log: {low:g} is not above 0: a scale of factors has none")
        if low >= high:
            raise Invalid(place, f"[{low:g}, {high:g}] is empty: write [low, high]")
        whole = type(default) is int  # not a bool
        axis = Axis(kind, round_digits(low), round_digits(high), whole=whole)
        ends = [axis.value_at(0), axis.value_at(1)]
    try:
        for value in ends:
            registry.validate(parameter, value, default)
    except HyperparameterError as error:
        raise Invalid(place, str(error)) from error
    return axis
