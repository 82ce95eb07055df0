"""The workloads of a sweep file: crossing of `each`, defaults, names; each checked by its keys."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.contract.workloads.workload import Workload
from orchestrator.sweep.document import Invalid, Location
from orchestrator.sweep.messages import check
from orchestrator.sweep.workload_keys import ImageWorkloadKeys, UserWorkloadKeys

AnyWorkload = ImageWorkloadKeys | UserWorkloadKeys


@dataclass(frozen=True)
class WorkloadEntry:
    """A workload as written, after crossing; `origins` has the places of its keys in the file."""

    data: Mapping[str, Any]
    location: Location
    origins: dict[str, Location] = field(default_factory=dict)

    def origin(self, inside: Location) -> Location:
        """Return the place in the file of a location inside the entry."""
        if inside and inside[0] in self.origins:
            return (*self.origins[str(inside[0])], *inside[1:])
        return (*self.location, *inside)


def cross_workloads(workloads: Any, defaults: Any) -> list[WorkloadEntry]:
    """Cross the lists of `each` and put `defaults` under every workload."""
    common = {} if defaults is None else defaults
    if not isinstance(common, Mapping):
        raise Invalid(("defaults",), "this should be a mapping of workload keys")
    if isinstance(workloads, Mapping):
        entries = _cross_axes(workloads)
    elif isinstance(workloads, list):
        entries = [
            WorkloadEntry(data, ("workloads", position)) for position, data in enumerate(workloads)
        ]
    else:
        entries = []
    if not entries:
        raise Invalid(
            ("workloads",),
            "no workloads: write a list, such as [{dataset: digits, model: mlp, epochs: 5}]",
        )
    for entry in entries:
        if not isinstance(entry.data, Mapping):
            raise Invalid(entry.location, f"{entry.data!r} is not a workload: write a mapping")
    return [
        WorkloadEntry(
            {**common, **entry.data},
            entry.location,
            {key: ("defaults", key) for key in common if key not in entry.data} | entry.origins,
        )
        for entry in entries
    ]


def _cross_axes(workloads: Mapping[str, Any]) -> list[WorkloadEntry]:
    rest = {key: value for key, value in workloads.items() if key != "each"}
    axes = workloads.get("each")
    if axes is None:
        return [WorkloadEntry(rest, ("workloads",))]
    if not isinstance(axes, Mapping) or not all(isinstance(v, list) and v for v in axes.values()):
        raise Invalid(
            ("workloads", "each"), "this should map keys to lists, such as dataset: [mnist, usps]"
        )
    both = sorted(set(axes) & set(rest))
    if both:
        raise Invalid(("workloads", both[0]), "this key is in `each` as well: keep one")
    origins: dict[str, Location] = {axis: ("workloads", "each", axis) for axis in axes}
    return [
        WorkloadEntry({**rest, **dict(zip(axes, point, strict=True))}, ("workloads",), origins)
        for point in itertools.product(*axes.values())
    ]


# How the metric of the user's own training is read; images are read as images always are.
_READINGS = ("metric", "final_metric", "goal", "unit", "chance")


def _kind(entry: WorkloadEntry) -> tuple[type[AnyWorkload], type[AnyWorkload]]:
    """Return the keys that a workload has, and those of the other kind."""
    if "train" in entry.data or "command" in entry.data:
        return UserWorkloadKeys, ImageWorkloadKeys
    return ImageWorkloadKeys, UserWorkloadKeys


def _check_workload(entry: WorkloadEntry) -> AnyWorkload:
    model, other = _kind(entry)
    # Defaults for one kind of workload mean nothing to the other.
    foreign = {
        key
        for key, origin in entry.origins.items()
        if origin[0] == "defaults" and key in other.model_fields and key not in model.model_fields
    }
    data = {key: value for key, value in entry.data.items() if key not in foreign}
    for key in _READINGS:
        if key in data and key not in model.model_fields:
            raise _refuse_reading(key, data[key], entry.origin((key,)))
    return check(model, data, entry.origin)


def _refuse_reading(key: str, value: Any, at: Location) -> Invalid:
    """Return the refusal of a key by which images are not read, with what does the same."""
    metric = value if key in ("metric", "final_metric") else "test_loss"
    return Invalid(
        at,
        f"{key!r} is a key of your own training; images are read by their accuracy. What else "
        "they log is compared as an endpoint of the analysis: "
        f"analysis: {{endpoints: [{{metric: {metric}}}]}}",
    )


def _check_defaults(entries: Sequence[WorkloadEntry]) -> None:
    """Raise Invalid for a default that no workload has a key for: it would change nothing."""
    for key, at in entries[0].origins.items():
        if at[0] != "defaults":
            continue
        model, other = _kind(entries[0])
        if key in model.model_fields or key not in other.model_fields:
            continue
        if any(key in _kind(one)[0].model_fields for one in entries):
            continue
        if key in _READINGS:
            raise _refuse_reading(key, entries[0].data[key], at)
        theirs = "images" if other is ImageWorkloadKeys else "your own training"
        raise Invalid(
            at, f"{key!r} is a key of {theirs}, and no workload here is that: leave it out"
        )


def name_workloads(entries: list[WorkloadEntry], ranks: int) -> tuple[Workload, ...]:
    """Check every workload by the keys of its kind and name it.

    `ranks` is the number of processes that train a trial unless its workload says otherwise.
    Raises Invalid for the first mistake, and for two workloads of equal name or content.
    """
    _check_defaults(entries)
    models = [_check_workload(entry) for entry in entries]
    names = _names(models, ranks)
    workloads: dict[str, Workload] = {}
    for entry, model, name in zip(entries, models, names, strict=True):
        workload = model.record(name, ranks)
        twin = next((w for w in workloads.values() if _identity(w) == _identity(workload)), None)
        if twin is not None:
            raise Invalid(
                entry.location, f"this workload is equal in content to {twin.name!r}: drop one"
            )
        if workload.name in workloads:
            raise Invalid(
                entry.location, f"two workloads are called {workload.name!r}: give them a `name:`"
            )
        workloads[workload.name] = workload
    return tuple(workloads.values())


def _names(models: list[AnyWorkload], ranks: int) -> list[str]:
    """Return the name of every workload: as written, or as many words as tell it from the others.

    These words are the data set, the model, and the number of ranks.
    """
    short = [model.dataset.name for model in models if isinstance(model, ImageWorkloadKeys)]
    names = []
    for model in models:
        if isinstance(model, UserWorkloadKeys) or model.name is not None:
            names.append(model.name or "")
            continue
        data = model.dataset.name
        names.append(data if short.count(data) == 1 else f"{data}-{model.model.name}")
    every = [(name, model.ranks or ranks) for name, model in zip(names, models, strict=True)]
    return [
        f"{name}-{count}rank{'s' * (count > 1)}"
        if model.name is None and len({c for n, c in every if n == name}) > 1
        else name
        for model, (name, count) in zip(models, every, strict=True)
    ]


def _identity(workload: Workload) -> tuple[str, str, int]:
    return workload.key, workload.precision, workload.ranks
