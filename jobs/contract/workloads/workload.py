"""Workloads: what is trained, for how long, and how its results are read.

A field that is added after id version 1 stays out of the hashed content while it has its default:
see `jobs.contract.trial`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from jobs.contract.content import canonical_json, digest
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.contract.workloads.result_sources import ResultSource


@dataclass(frozen=True)
class MetricSpec:
    """How the results of a workload are read: which curve, which final value, what is better.

    `final_metric` None stands for the last value of `metric`. A `fraction` and a `percent` are
    reported in percentage points, a `plain` one in its own unit. `chance` is the value of a trial
    that diverged, in the metric's own scale; without it, it counts as no result. The
    `target` of `metric`, in the same scale, is what a trial is timed to reach.
    """

    metric: str
    final_metric: str | None = None
    goal: Literal["max", "min"] = "max"
    unit: Literal["fraction", "percent", "plain"] = "plain"
    chance: float | None = None
    target: float | None = None


@dataclass(frozen=True)
class DivergenceLimit:
    """Past what a trial has diverged although all is finite: `metric` above or below a value.

    In the metric's own scale; one of the two values at least is there.
    """

    metric: str
    above: float | None = None
    below: float | None = None

    def complaint(self, value: float) -> str | None:
        """Say by how much a value is past the limit; None if it is not."""
        if self.above is not None and value > self.above:
            return f"{self.metric} is {value:g}, above the limit of {self.above:g}"
        if self.below is not None and value < self.below:
            return f"{self.metric} is {value:g}, below the limit of {self.below:g}"
        return None


@dataclass(frozen=True)
class Workload(ABC):
    """What is trained: an `ImageWorkload` or a `UserWorkload`; a property of the other is None.

    Labels, which take no part in identity: `name`, and `declared_metric`, how results are read.
    `precision` and `ranks` are those of its trials, which have them in their own identity: equal
    seeds make precisions and world sizes comparable. `diverged` is a limit that ends a trial.
    """

    name: str
    declared_metric: MetricSpec | None = field(default=None, kw_only=True)
    precision: str = field(default="fp32", kw_only=True)
    ranks: int = field(default=1, kw_only=True)
    diverged: DivergenceLimit | None = field(default=None, kw_only=True)

    unit: ClassVar[Literal["epoch", "step"]]  # of the budget, of rungs, of a point on the curve
    is_deterministic: ClassVar[bool]  # the user's own training answers for its own bits
    takes_any_optimizer: ClassVar[bool]  # the user's code may know names that we do not
    ends_as_logged: ClassVar[bool]  # what it logged last is a final metric as well
    has_planned_curve: ClassVar[bool]  # from the untrained model to a last step that we know

    @cached_property
    def metric_spec(self) -> MetricSpec:
        """How results are read: as declared, or as for images."""
        curve = "val_accuracy" if self.holds_out else "train_accuracy"
        return self.declared_metric or MetricSpec(curve, "test_accuracy", unit="fraction")

    @property
    def holds_out(self) -> bool:
        """True if its curve is of data that it does not train on, as far as we know."""
        return True

    @property
    @abstractmethod
    def budget(self) -> int | None:
        """How long a trial trains, in `unit`, if that is known."""

    @property
    def steps(self) -> int | None:
        """How many steps a trial trains, if that is declared."""
        return None

    @property
    def global_batch(self) -> int | None:
        """How many samples a step takes, on all ranks together."""
        return None

    @property
    def command(self) -> str | None:
        return None

    @property
    @abstractmethod
    def references(self) -> Mapping[str, str]:
        """What a sweep refers to, by key: each may be a dotted path, except a command."""

    @property
    @abstractmethod
    def data_set(self) -> str:
        """The name of its data set: two models on one data set are not two data sets."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Return what identifies the workload, JSON-ready."""

    def labels(self) -> dict[str, Any]:
        """Return what a trial records beside the content, JSON-ready."""
        return {} if self.declared_metric is None else {"reading": asdict(self.declared_metric)}

    def _limit(self) -> dict[str, Any]:
        """Return what content there is of a limit: none without one, as before there were any."""
        return {} if self.diverged is None else {"diverged": asdict(self.diverged)}

    @cached_property
    def key(self) -> str:
        """The workload's part in seed derivation."""
        return digest(self.content())


@dataclass(frozen=True)
class ImageWorkload(Workload):
    """Image classification: data, model, loss and budget.

    Labels, which change no bit: `loader_workers`, the number of processes that decode images, and
    `telemetry`, with which the optimizer reports on its layers at each evaluation.
    """

    unit = "epoch"
    is_deterministic = has_planned_curve = True
    takes_any_optimizer = ends_as_logged = False

    dataset: str = ""
    model: str = ""
    epochs: int = 0
    global_batch: int = 0
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    split: Literal["fair", "replication"] = "fair"
    train_images: int | None = None
    loss: str = "cross_entropy"
    schedule: Mapping[str, Any] = field(default_factory=dict)
    clip_norm: float | None = None
    accumulate: int = 1
    label_smoothing: float = 0.0
    ema: float | None = None
    no_decay: tuple[str, ...] = ()
    evaluate: EvaluationPlan = field(default_factory=EvaluationPlan)
    loader_workers: int = 0
    telemetry: bool = False

    @property
    def holds_out(self) -> bool:
        return self.split == "fair"

    @property
    def budget(self) -> int:
        return self.epochs

    @property
    def references(self) -> Mapping[str, str]:
        return {"dataset": self.dataset, "model": self.model}

    @property
    def data_set(self) -> str:
        own_loader = ":" in self.dataset  # its options may be what tells its data sets apart
        options = canonical_json(self.dataset_options) if own_loader else ""
        return f"{self.dataset} {options}".rstrip()

    def content(self) -> dict[str, Any]:
        content = {
            "augment": list(self.augment),
            "dataset": self.dataset,
            "dataset_options": dict(self.dataset_options),
            "epochs": self.epochs,
            "global_batch": self.global_batch,
            "loss": self.loss,
            "model": self.model,
            "model_options": dict(self.model_options),
            "split": self.split,
            "train_images": self.train_images,
        }
        return content | self._recipe() | self._limit()

    def labels(self) -> dict[str, Any]:
        labels = {"loader_workers": self.loader_workers, "telemetry": self.telemetry}
        return super().labels() | {name: value for name, value in labels.items() if value}

    def _recipe(self) -> dict[str, Any]:
        """Return what was added after id version 1, if it is not at its default."""
        recipe: dict[str, tuple[Any, Any]] = {
            "accumulate": (self.accumulate, 1),
            "clip_norm": (self.clip_norm, None),
            "ema": (self.ema, None),
            "evaluate": (self.evaluate.content(), {}),
            "label_smoothing": (self.label_smoothing, 0.0),
            "no_decay": (list(self.no_decay), []),
            "schedule": (dict(self.schedule), {}),
        }
        return {name: value for name, (value, default) in recipe.items() if value != default}


@dataclass(frozen=True)
class UserWorkload(Workload):
    """The user's own training: a function (`train`, `module:name`) or a command line (`command`).

    It has `options` of its own and, if declared, a budget in `steps`; we know nothing of its data,
    model, epochs and batch. `results`, a label as `declared_metric` is, are what the results of a
    command are read from beside what it logs to us.
    """

    unit = "step"
    is_deterministic = has_planned_curve = False
    takes_any_optimizer = ends_as_logged = True

    train: str | None = None
    command: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    results: tuple[ResultSource, ...] = ()

    @property
    def budget(self) -> int | None:
        return self.steps

    @property
    def references(self) -> Mapping[str, str]:
        return {"command": self.command} if self.command else {"train": self.train or ""}

    @property
    def data_set(self) -> str:
        return self.name  # it has whatever data its name stands for

    def content(self) -> dict[str, Any]:
        content = {
            "command": self.command,
            "options": dict(self.options),
            "steps": self.steps,
            "train": self.train,
        }
        return content | self._limit()

    def labels(self) -> dict[str, Any]:
        sources = [source.to_json() for source in self.results]
        return super().labels() | ({"results": sources} if sources else {})
