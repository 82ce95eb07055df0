"""The keys of a workload: image classification, or the user's own training and how it is read.

Checks one workload; names, defaults and crossing are `orchestrator.sweep.workloads`'.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from jobs.contract import catalog, command_template
from jobs.contract.schedule import resolve_schedule
from jobs.contract.trial import Candidate, ImageWorkload, MetricSpec, UserWorkload, canonical_json
from orchestrator.sweep.messages import MOST_RANKS, Strict, check_printable
from thermolion.registry import validate
from tracking.metric import Scale

_NameOrOptions = str | dict[str, dict[str, Any]]
_Fraction = Annotated[float, Field(ge=0, lt=1, strict=False)]
_Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]


class Named(NamedTuple):
    """A catalogue name (or the user's `module:attribute`) with its options, defaults filled in."""

    name: str
    options: dict[str, Any]


def _read_named(value: Any, what: str, fill: Callable[[str, Any], dict[str, Any]]) -> Named:
    if isinstance(value, Mapping) and len(value) == 1:
        ((value, options),) = value.items()
    else:
        options = {}
    if not isinstance(value, str) or not isinstance(options, Mapping):
        raise ValueError(f"{value!r} is not a {what}: write NAME or {{NAME: {{option: value}}}}")
    if catalog.is_dotted(value):
        return Named(value, {key: validate(key, item) for key, item in options.items()})
    return Named(value, fill(value, options))


def _read_dataset(value: Any) -> Named:
    return _read_named(value, "data set", catalog.dataset_options)


def _read_model(value: Any) -> Named:
    return _read_named(value, "model", catalog.model_options)


def _choose_from(choices: tuple[str, ...], what: str) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        names = value if isinstance(value, list) else [value]
        for name in names:
            catalog.check_known(str(name), choices, what)
        if len(set(names)) < len(names):
            raise ValueError(f"{value!r} names one {what} twice")
        # They are applied in this order, whichever is written: one trial, one id.
        return tuple(name for name in choices if name in names)

    return read


class Loader(Strict):
    """How images that stay on disk are read; it changes no result."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0


class ImageWorkloadKeys(Strict):
    """Image classification: data, model and step budget; defaults are part of a trial's id."""

    name: Annotated[str, Field(max_length=64), AfterValidator(check_printable)] | None = None
    dataset: Annotated[Named, PlainValidator(_read_dataset, json_schema_input_type=_NameOrOptions)]
    model: Annotated[Named, PlainValidator(_read_model, json_schema_input_type=_NameOrOptions)]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    global_batch: Annotated[int, Field(ge=1, le=2**31)] = 128
    augment: Annotated[
        tuple[str, ...],
        PlainValidator(
            _choose_from(catalog.AUGMENTATIONS, "augmentation"), json_schema_input_type=list[str]
        ),
    ] = ()
    split: Literal["fair", "replication"] = "fair"
    train_images: Annotated[int, Field(ge=1)] | None = None
    schedule: str | dict[str, Any] = Field(default_factory=dict)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)] | None = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    label_smoothing: _Fraction = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    no_decay: Annotated[
        tuple[str, ...],
        PlainValidator(
            _choose_from(catalog.NO_DECAY, "kind of parameter"), json_schema_input_type=list[str]
        ),
    ] = ()
    loader: Loader = Loader()
    # These two take no part in a trial's id. `telemetry`: ThermoLion records its layers at each
    # evaluation. `target`: an accuracy of the learning curve.
    telemetry: bool = False
    target: Annotated[float, Field(gt=0, lt=1)] | None = None
    ranks: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None

    @model_validator(mode="after")
    def _check_images(self) -> Self:
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

    @model_validator(mode="after")
    def _check_accumulate(self) -> Self:
        if self.accumulate > self.global_batch:
            raise ValueError(
                f"accumulate is {self.accumulate}: a global batch of {self.global_batch} has so "
                "many samples that it can be split into"
            )
        return self

    @model_validator(mode="after")
    def _fill_schedule(self) -> Self:
        # Written into the field, so that a mistake is told at its place in the file.
        object.__setattr__(self, "schedule", resolve_schedule(self.schedule, self.epochs))
        return self

    def record(self, name: str, ranks: int) -> ImageWorkload:
        """Return the workload as trials carry it, with `ranks` ranks unless it says otherwise."""
        copied = dict(self)
        target, loader = copied.pop("target"), copied.pop("loader")
        different = {
            "name": name,
            "dataset": self.dataset.name,
            "dataset_options": self.dataset.options,
            "model": self.model.name,
            "model_options": self.model.options,
            "loader_workers": loader.workers,
            "ranks": self.ranks or ranks,
        }
        workload = ImageWorkload(**copied | different)
        if target is None:
            return workload
        return replace(workload, declared_metric=replace(workload.metric_spec, target=target))


def _check_train(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError(
            f"{value!r} names no function: write module:function, such as my_lab.train:train"
        )
    return value


def _check_options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no mapping: write options: {{width: 64}}")
    return {key: validate("options", item) for key, item in value.items()}


class UserWorkloadKeys(Strict):
    """The user's own training; how its results are read takes no part in a trial's id."""

    name: Annotated[str, Field(max_length=64), AfterValidator(check_printable)]
    train: Annotated[str, PlainValidator(_check_train, json_schema_input_type=str)] | None = None
    command: str | None = None
    options: Annotated[
        dict[str, Any], PlainValidator(_check_options, json_schema_input_type=dict[str, Any])
    ] = Field(default_factory=dict)
    steps: Annotated[int, Field(ge=1, le=2**53)] | None = None
    metric: Annotated[str, AfterValidator(check_printable)]
    final_metric: Annotated[str, AfterValidator(check_printable)] | None = None
    goal: Literal["max", "min"] = "max"
    unit: Literal["fraction", "percent", "plain"] = "plain"
    chance: _Number | None = None
    target: _Number | None = None
    ranks: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        if self.train is not None and self.command is not None:
            raise ValueError("`train` and `command` are both here: keep one of the two")
        return self

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        wrong = (
            None if self.target is None else Scale.of(self._metric_spec()).complaint(self.target)
        )
        if wrong:
            raise ValueError(f"target is {self.target}: {wrong}")
        return self

    def _metric_spec(self) -> MetricSpec:
        return MetricSpec(
            self.metric, self.final_metric, self.goal, self.unit, self.chance, self.target
        )

    def record(self, name: str, ranks: int) -> UserWorkload:
        """Return the workload as trials carry it, with `ranks` ranks unless it says otherwise."""
        return UserWorkload(
            name=name,
            train=self.train,
            command=self.command,
            options=self.options,
            steps=self.steps,
            declared_metric=self._metric_spec(),
            ranks=self.ranks or ranks,
        )


def check_command(workload: UserWorkload, candidate: Candidate, written: Collection[str]) -> None:
    """Raise DataError for a command that cannot be filled for a candidate.

    The command has to use the seed and the hyperparameters `written` for the candidate: they would
    have no effect otherwise.
    """
    assert workload.command is not None
    names = command_template.list_placeholders(workload.options, candidate.hyperparameters)
    command_template.parse_command(workload.command, names, [*sorted(written), "seed"])


def read_by_command(workload: UserWorkload, candidate: Candidate) -> str:
    """Return what a command reads of a candidate: equal texts are equal commands."""
    assert workload.command is not None
    values = {
        **candidate.hyperparameters,
        "optimizer": candidate.optimizer,
        "candidate": candidate.name,
        "hyperparameters": dict(candidate.hyperparameters),
        "trial": candidate.content(),
        "trial_file": candidate.content(),
    }
    used = sorted(command_template.find_placeholders(workload.command))
    return canonical_json([values.get(name) for name in used])
