"""The keys of a workload: image classification, or the user's own training and how it is read.

Checks one workload; names, defaults and crossing are `orchestrator.sweep.workloads`'.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from jobs.contract import command_template
from jobs.contract.close_names import find_other_name
from jobs.contract.content import canonical_json
from jobs.contract.trial import Candidate
from jobs.contract.workloads import catalog
from jobs.contract.workloads.evaluation_plan import EvaluationPlan, read_interval
from jobs.contract.workloads.result_sources import PrintedLines, ResultSource
from jobs.contract.workloads.schedule import resolve_schedule
from jobs.contract.workloads.workload import (
    DivergenceLimit,
    ImageWorkload,
    MetricSpec,
    UserWorkload,
)
from orchestrator.sweep.key_places import find_hyperparameter, offer_options
from orchestrator.sweep.messages import Number, Ranks, Strict, check_printable
from orchestrator.sweep.result_keys import read_results
from thermolion.registry import validate
from tracking.metric import find_impossible


class Named(NamedTuple):
    """A catalogue name (or the user's `module:attribute`) with its options, defaults filled in."""

    name: str
    options: dict[str, Any]


def _named(what: str, fill: Callable[[str, Any], dict[str, Any]]) -> PlainValidator:
    """Return the validator of a catalogue name; `fill` returns its options with all defaults."""

    def read(value: Any) -> Named:
        options: Any = {}
        if isinstance(value, Mapping) and len(value) == 1:
            ((value, options),) = value.items()
        if not isinstance(value, str) or not isinstance(options, Mapping):
            raise ValueError(
                f"{value!r} is not a {what}: write NAME or {{NAME: {{option: value}}}}"
            )
        if catalog.is_dotted(value):
            return Named(value, {key: validate(key, item) for key, item in options.items()})
        return Named(value, fill(value, options))

    return PlainValidator(read, json_schema_input_type=str | dict[str, dict[str, Any]])


def _some_of(choices: tuple[str, ...], what: str) -> PlainValidator:
    """Return the validator of one or more of `choices`, each at most once."""

    def read(value: Any) -> tuple[str, ...]:
        names = value if isinstance(value, list) else [value]
        for name in names:
            catalog.check_known(str(name), choices, what)
        if len(set(names)) < len(names):
            raise ValueError(f"{value!r} names one {what} twice")
        # They are applied in this order, whichever is written: one trial, one id.
        return tuple(name for name in choices if name in names)

    return PlainValidator(read, json_schema_input_type=list[str])


class DivergedKeys(Strict):
    """Past what a trial has diverged, beside what is not finite: `metric` above or below a value.

    The metric is the training loss of images, and the metric of the user's own training, unless it
    is named. A trial ends there, so that a limit is part of its id.
    """

    above: Number | None = None
    below: Number | None = None
    metric: Annotated[str, AfterValidator(check_printable)] | None = None

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("there is no limit: write {above: 20}, or {below: 0.05}")
        if self.above is not None and self.below is not None and self.below >= self.above:
            raise ValueError(
                f"below is {self.below:g} and above is {self.above:g}: no value is within"
            )
        return self

    def record(self, usual: str) -> DivergenceLimit:
        """Return the limit as trials carry it, on the `usual` metric unless another is named."""
        return DivergenceLimit(self.metric or usual, self.above, self.below)


class Loader(Strict):
    """How images that stay on disk are read; it changes no result."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0


class EvaluateKeys(Strict):
    """When the learning curve is measured, and on how much of the data it is measured on.

    `every`: epochs (`1ep`) or steps (`50 steps`). `samples` thins the points between: the first
    model is measured on so many images, stratified by class, and the last one, every rung of a
    search and the final score on all. `batch` images are scored at a time; unless it is given, 128
    on a CPU and 1,024 on a GPU. All of it is part of a trial's id.
    """

    every: Annotated[str, PlainValidator(read_interval, json_schema_input_type=str)] = (
        EvaluationPlan.every
    )
    batch: Annotated[int, Field(ge=1, le=2**20)] | None = None
    samples: Annotated[int, Field(ge=1, le=2**31)] | None = None

    def plan(self) -> EvaluationPlan:
        """Return the keys as trials carry them."""
        return EvaluationPlan(**dict(self))


def _check_evaluate(value: Any) -> Any:
    if not isinstance(value, Mapping | EvaluateKeys):
        raise ValueError(
            f"{value!r} is no mapping: write evaluate: {{every: 1ep}}, "
            "{every: 50 steps, samples: 2000} or {batch: 512}"
        )
    return value


class ImageWorkloadKeys(Strict):
    """Image classification: data, model and step budget; defaults are part of a trial's id."""

    name: Annotated[str, Field(max_length=64), AfterValidator(check_printable)] | None = None
    dataset: Annotated[Named, _named("data set", catalog.dataset_options)]
    model: Annotated[Named, _named("model", catalog.model_options)]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    global_batch: Annotated[int, Field(ge=1, le=2**31)] = 128
    augment: Annotated[tuple[str, ...], _some_of(catalog.AUGMENTATIONS, "augmentation")] = ()
    split: Literal["fair", "replication"] = "fair"
    train_images: Annotated[int, Field(ge=1)] | None = None
    schedule: str | dict[str, Any] = Field(default_factory=dict)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)] | None = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1, strict=False)] = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    no_decay: Annotated[tuple[str, ...], _some_of(catalog.NO_DECAY, "kind of parameter")] = ()
    evaluate: Annotated[EvaluateKeys, BeforeValidator(_check_evaluate)] = EvaluateKeys()
    loader: Loader = Loader()
    diverged: DivergedKeys | None = None
    # These two take no part in a trial's id. `telemetry`: ThermoLion records its layers at each
    # evaluation. `target`: an accuracy of the learning curve.
    telemetry: bool = False
    target: Annotated[float, Field(gt=0, lt=1)] | None = None
    ranks: Ranks | None = None

    @classmethod
    def find_place(cls, key: str) -> str | None:
        return find_hyperparameter(key)

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
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
        if self.accumulate > self.global_batch:
            raise ValueError(
                f"accumulate is {self.accumulate}: a global batch of {self.global_batch} samples "
                "cannot be split into so many"
            )
        return self

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.diverged is not None and self.diverged.metric is not None:
            held_out = self.split == "fair"
            curve = (
                ("val_accuracy", "val_loss") if held_out else ("train_accuracy", "train_set_loss")
            )
            catalog.check_known(
                self.diverged.metric, ("train_loss", *curve), "metric of the curve"
            )
        return self

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        every = self.evaluate.plan().every_epochs
        if every is not None and every > self.epochs:
            raise ValueError(
                f"evaluate.every is {self.evaluate.every}, and a trial trains {self.epochs} "
                f"epoch{'s' * (self.epochs > 1)}: write at most {self.epochs}ep, which evaluates "
                "the first model and the last one alone"
            )
        return self

    @model_validator(mode="after")
    def _fill_schedule(self) -> Self:
        # Written into the field, so that an error names its place in the file.
        object.__setattr__(self, "schedule", resolve_schedule(self.schedule, self.epochs))
        return self

    def record(self, name: str, ranks: int) -> ImageWorkload:
        """Return the workload as trials carry it, with `ranks` ranks unless it says otherwise."""
        copied = dict(self)
        target, loader = copied.pop("target"), copied.pop("loader")
        limit = copied.pop("diverged")
        different = {
            "name": name,
            "dataset": self.dataset.name,
            "dataset_options": self.dataset.options,
            "model": self.model.name,
            "model_options": self.model.options,
            "loader_workers": loader.workers,
            "evaluate": self.evaluate.plan(),
            "diverged": None if limit is None else limit.record("train_loss"),
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
    """The user's own training; how its results are read takes no part in a trial's id.

    A limit at which it has `diverged` does: it ends trials.
    """

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
    chance: Number | None = None
    target: Number | None = None
    diverged: DivergedKeys | None = None
    ranks: Ranks | None = None
    results: Annotated[
        tuple[ResultSource, ...],
        PlainValidator(read_results, json_schema_input_type=str | dict[str, Any] | list[Any]),
    ] = ()

    @classmethod
    def find_place(cls, key: str) -> str | None:
        hyperparameter = find_hyperparameter(key)
        if hyperparameter is None and find_other_name(key, ImageWorkloadKeys.model_fields):
            return f"{offer_options(key)}; choose from {', '.join(cls.model_fields)}"
        return hyperparameter

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.train is not None and self.command is not None:
            raise ValueError("`train` and `command` are both here: keep one of the two")
        if self.train is not None and self.results:
            raise ValueError("a function returns or logs its results: `results` is of a `command`")
        if (wrong := find_impossible(self._metric_spec())) is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _check_patterns(self) -> Self:
        if self.results and all(isinstance(source, PrintedLines) for source in self.results):
            named = frozenset().union(*(source.metrics for source in self.results))  # type: ignore[union-attr]  # they are of lines
            for name in (self.metric, self.final_metric or self.metric):
                catalog.check_known(name, sorted(named), "metric of the patterns in `results`")
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
            results=self.results,
            diverged=None if self.diverged is None else self.diverged.record(self.metric),
            ranks=self.ranks or ranks,
        )


def check_command(
    workload: UserWorkload,
    candidate: Candidate,
    written: Collection[str],
    elsewhere: Collection[str] = (),
) -> None:
    """Raise DataError for a command that cannot be filled for a candidate.

    The command has to use the seed, the hyperparameters `written` for the candidate and its
    `args`: they would have no effect otherwise. Other candidates have the names `elsewhere`.
    """
    assert workload.command is not None
    names = command_template.list_placeholders(
        workload.options, candidate.hyperparameters, candidate.args
    )
    command_template.parse_command(
        workload.command, names, [*sorted(written), "seed"], candidate.args, elsewhere
    )
    for source in workload.results:
        if not isinstance(source, PrintedLines) and source.path is not None:
            command_template.check_path(source.path, names)


def read_by_command(workload: UserWorkload, candidate: Candidate) -> str:
    """Return what a command reads of a candidate: equal texts are equal commands."""
    assert workload.command is not None
    values = {
        **workload.options,
        **candidate.settings,
        "optimizer": candidate.optimizer,
        "candidate": candidate.name,
        "hyperparameters": dict(candidate.hyperparameters),
        "args": dict(candidate.args),
        "trial": candidate.content(),
        "trial_file": candidate.content(),
    }
    return canonical_json(command_template.read_values(workload.command, values))
