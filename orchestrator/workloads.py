"""The workloads of a sweep file: crossing of `each`, defaults, names."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from jobs import catalog
from jobs.trial import Workload
from orchestrator.sweep_file import Document, Location
from orchestrator.validation import Strict
from thermolion.registry import checked

_PREFIXES_NOT_YET = ("imagefolder:", "torchvision:")


class Named(NamedTuple):
    """A catalogue name (or the user's `module:attribute`) with its options, defaults filled in."""

    name: str
    options: dict[str, Any]


def _named(value: Any, known: Mapping[str, Any], what: str) -> Named:
    if isinstance(value, Mapping) and len(value) == 1:
        ((value, options),) = value.items()
    else:
        options = {}
    if not isinstance(value, str) or not isinstance(options, Mapping):
        raise ValueError(f"{value!r} is not a {what}: write NAME or {{NAME: {{option: value}}}}")
    if value.startswith(_PREFIXES_NOT_YET):
        raise ValueError(f"{value!r} is not available yet: choose from {', '.join(known)}")
    if catalog.is_dotted(value):
        return Named(value, {key: checked(key, item) for key, item in options.items()})
    catalog.known(value, known, what)
    return Named(value, catalog.filled(known[value], value, options))


def _dataset(value: Any) -> Named:
    return _named(value, catalog.DATASETS, "data set")


def _model(value: Any) -> Named:
    return _named(value, catalog.MODELS, "model")


def _augment(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        catalog.known(str(name), catalog.AUGMENTATIONS, "augmentation")
    if len(set(names)) < len(names):
        raise ValueError(f"{value!r} names an augmentation twice")
    # They are applied in this order, whichever is written: one trial, one id.
    return tuple(name for name in catalog.AUGMENTATIONS if name in names)


def _printable(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no name: use printable characters")
    return name


_NameOrOptions = str | dict[str, dict[str, Any]]


class ImageWorkload(Strict):
    """Image classification: data, model and step budget; defaults are part of a trial's id."""

    name: Annotated[str, Field(max_length=64), AfterValidator(_printable)] | None = None
    dataset: Annotated[Named, PlainValidator(_dataset, json_schema_input_type=_NameOrOptions)]
    model: Annotated[Named, PlainValidator(_model, json_schema_input_type=_NameOrOptions)]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    global_batch: Annotated[int, Field(ge=1, le=2**31)] = 128
    augment: Annotated[
        tuple[str, ...], PlainValidator(_augment, json_schema_input_type=list[str])
    ] = ()
    split: Literal["fair", "replication"] = "fair"
    train_images: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _enough_images(self) -> Self:
        spec = catalog.DATASETS.get(self.dataset.name)
        if spec is not None and self.train_images is not None:
            most = self.dataset.options.get("images", spec.train_images)
            if self.split == "fair":
                most -= round(most / 10)  # they validate
            if self.train_images > most:
                raise ValueError(
                    f"train_images is {self.train_images}: {self.dataset.name} has {most} at most "
                    f"to train on with split {self.split}"
                )
        return self


@dataclass(frozen=True)
class Entry:
    """A workload as written, after crossing; `origins` tells where keys stand in the file."""

    data: Mapping[str, Any]
    location: Location
    origins: Mapping[str, Location] = field(default_factory=dict)

    def origin(self, inside: Location) -> Location:
        """Return the place in the file of a location inside the entry."""
        if inside and inside[0] in self.origins:
            return (*self.origins[str(inside[0])], *inside[1:])
        return (*self.location, *inside)


def cross(workloads: Any, defaults: Any, document: Document) -> list[Entry]:
    """Cross the lists of `each` and put `defaults` under every workload."""
    common = {} if defaults is None else defaults
    if not isinstance(common, Mapping):
        raise document.error(("defaults",), "this should be a mapping of workload keys")
    if isinstance(workloads, Mapping):
        entries = _each(workloads, document)
    elif isinstance(workloads, list):
        entries = [Entry(data, ("workloads", position)) for position, data in enumerate(workloads)]
    else:
        entries = []
    if not entries:
        raise document.error(
            ("workloads",),
            "no workloads: write a list, such as [{dataset: digits, model: mlp, epochs: 5}]",
        )
    for entry in entries:
        if not isinstance(entry.data, Mapping):
            raise document.error(
                entry.location, f"{entry.data!r} is not a workload: write a mapping"
            )
    return [
        Entry(
            {**common, **entry.data},
            entry.location,
            {key: ("defaults", key) for key in common if key not in entry.data}
            | {**entry.origins},
        )
        for entry in entries
    ]


def _each(workloads: Mapping[str, Any], document: Document) -> list[Entry]:
    rest = {key: value for key, value in workloads.items() if key != "each"}
    axes = workloads.get("each")
    if axes is None:
        return [Entry(rest, ("workloads",))]
    if not isinstance(axes, Mapping) or not all(isinstance(v, list) and v for v in axes.values()):
        raise document.error(
            ("workloads", "each"), "this should map keys to lists, such as dataset: [mnist, usps]"
        )
    both = sorted(set(axes) & set(rest))
    if both:
        raise document.error(("workloads", both[0]), "this key is in `each` as well: keep one")
    origins: dict[str, Location] = {axis: ("workloads", "each", axis) for axis in axes}
    return [
        Entry({**rest, **dict(zip(axes, point, strict=True))}, ("workloads",), origins)
        for point in itertools.product(*axes.values())
    ]


def resolve(
    entries: list[Entry], models: list[ImageWorkload], document: Document
) -> tuple[Workload, ...]:
    """Name the workloads and refuse two of equal name or content."""
    short = [model.dataset.name for model in models]
    workloads: dict[str, Workload] = {}
    for entry, model in zip(entries, models, strict=True):
        unique = short.count(model.dataset.name) == 1
        default = model.dataset.name if unique else f"{model.dataset.name}-{model.model.name}"
        workload = Workload(
            name=model.name or default,
            dataset=model.dataset.name,
            dataset_options=model.dataset.options,
            model=model.model.name,
            model_options=model.model.options,
            epochs=model.epochs,
            global_batch=model.global_batch,
            augment=model.augment,
            split=model.split,
            train_images=model.train_images,
        )
        twin = next((w for w in workloads.values() if w.key == workload.key), None)
        if twin is not None:
            raise document.error(
                entry.location, f"this workload is equal in content to {twin.name!r}: drop one"
            )
        if workload.name in workloads:
            raise document.error(
                entry.location, f"two workloads are called {workload.name!r}: give them a `name:`"
            )
        workloads[workload.name] = workload
    return tuple(workloads.values())
