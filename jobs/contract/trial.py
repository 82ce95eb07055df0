"""A trial: one candidate on one block, named by a hash of its resolved content.

Resolves no defaults and checks no names; `orchestrator.sweep.sweep` does both before a trial is
made. A field that is added after id version 1 stays out of the hashed content while it has its
default; otherwise every recorded trial would lose its name.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

from jobs.contract.asha import Rungs
from jobs.contract.evaluation_plan import EvaluationPlan

ID_VERSION = 1
STREAMS = ("split", "init", "order", "augment", "dropout", "noise")

Phase = Literal["pilot", "tune", "compare"]


def canonical_json(content: Any) -> str:
    """Serialise so that equal content gives equal text: sorted keys, floats by `repr`."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """Return the first 16 hex digits of sha256 over the canonical JSON of `content`."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def stream_seed(root: int, phase: Phase, workload_key: str, block: int, stream: str) -> int:
    """Derive a 64-bit seed from everything that names a random stream, and from nothing else.

    The candidate takes no part (candidates of a block are paired); the phase does (tuning must
    not leak into the comparison).
    """
    key = canonical_json(["v1", root, phase, workload_key, block, stream])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


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
    model, epochs and batch.
    """

    unit = "step"
    is_deterministic = has_planned_curve = False
    takes_any_optimizer = ends_as_logged = True

    train: str | None = None
    command: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None

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


@dataclass(frozen=True)
class Candidate:
    """An optimizer with all its hyperparameters; `name` is a label and renaming costs nothing.

    `replica` tells apart candidates of equal content (an A/A study); `noise_seed` gives a replica
    a noise stream of its own. `setting_of`, a label as well, names the candidate that this one is
    a setting of while that is tuned. `search_number`, another label, is that of the search that
    its settings are of, if several have looked for them.
    """

    name: str
    optimizer: str
    hyperparameters: Mapping[str, Any]
    replica: int = 0
    noise_seed: int = 0
    setting_of: str | None = None
    search_number: int | None = None

    @property
    def declared(self) -> str:
        """The name of the candidate that a sweep declares."""
        return self.setting_of or self.name

    def content(self) -> dict[str, Any]:
        """Return what identifies the candidate, JSON-ready."""
        return {
            "hyperparameters": dict(self.hyperparameters),
            "noise_seed": self.noise_seed,
            "optimizer": self.optimizer,
            "replica": self.replica,
        }

    @cached_property
    def key(self) -> str:
        return digest(self.content())


@dataclass(frozen=True)
class Trial:
    """One candidate on one block (workload, seed index); seeds are by stream, 64-bit.

    With `rungs` it may end before its budget is spent: of tuning alone, never of a comparison.
    """

    workload: Workload
    candidate: Candidate
    phase: Phase
    block: int
    seeds: Mapping[str, int]
    world_size: int = 1
    threads: int = 1
    precision: str = "fp32"
    execution: str = "plain"
    rungs: Rungs | None = None

    @property
    def images(self) -> ImageWorkload:
        """The workload of a trial that is known to classify images."""
        assert isinstance(self.workload, ImageWorkload)
        return self.workload

    @property
    def user_workload(self) -> UserWorkload:
        """The workload of a trial that is known to be the user's training."""
        assert isinstance(self.workload, UserWorkload)
        return self.workload

    def content(self) -> dict[str, Any]:
        """Return what the id is a hash of, JSON-ready."""
        rungs = {} if self.rungs is None else {"rungs": self.rungs.to_json()}
        return rungs | {
            "block": self.block,
            "candidate": self.candidate.content(),
            "execution": self.execution,
            "id_version": ID_VERSION,
            "phase": self.phase,
            "precision": self.precision,
            "seeds": dict(self.seeds),
            "threads": self.threads,
            "workload": self.workload.content(),
            "world_size": self.world_size,
        }

    @cached_property
    def id(self) -> str:
        return digest(self.content())

    def to_json(self) -> dict[str, Any]:
        """Return the content together with its labels; `from_json` is the inverse."""
        workload = self.workload
        labels: dict[str, Any] = {"candidate": self.candidate.name, "workload": workload.name}
        if self.candidate.setting_of is not None:
            labels["setting_of"] = self.candidate.setting_of
        if self.candidate.search_number is not None:
            labels["search"] = self.candidate.search_number
        labels |= workload.labels()
        if self.rungs is not None:
            labels["rivals"] = self.rungs.competitors
        return self.content() | {"labels": labels}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Trial":
        """Rebuild a trial from `to_json`; fields that this version does not know are ignored.

        Raises ValueError for an id version that this version cannot read.
        """
        if record["id_version"] != ID_VERSION:
            raise ValueError(
                f"trial of id version {record['id_version']}, this version reads {ID_VERSION}: "
                "install the version of thermolion that wrote it"
            )
        labels = record["labels"]
        kind = UserWorkload if "train" in record["workload"] else ImageWorkload
        workload = known_fields(kind, record["workload"] | labels)
        for listed in ("augment", "no_decay"):
            if listed in workload:
                workload[listed] = tuple(workload[listed])
        if "evaluate" in workload:
            plan = known_fields(EvaluationPlan, workload["evaluate"])
            workload["evaluate"] = EvaluationPlan(**plan)
        if "diverged" in workload:
            limit = known_fields(DivergenceLimit, workload["diverged"])
            workload["diverged"] = DivergenceLimit(**limit)
        if "reading" in labels:
            workload["declared_metric"] = MetricSpec(**known_fields(MetricSpec, labels["reading"]))
        workload |= {
            "name": labels["workload"],
            "precision": record["precision"],
            "ranks": record["world_size"],
        }
        candidate = known_fields(Candidate, record["candidate"])
        candidate |= {
            "setting_of": labels.get("setting_of"),
            "search_number": labels.get("search", labels.get("found_by")),  # its early name
        }
        rest = known_fields(Trial, record) | {
            "workload": kind(**workload),
            "candidate": Candidate(name=labels["candidate"], **candidate),
        }
        if "rungs" in rest:
            rest["rungs"] = Rungs.from_json(rest["rungs"], labels["rivals"])
        return Trial(**rest)


def block_seeds(
    root: int, phase: Phase, workload: Workload, block: int, noise_seed: int = 0
) -> dict[str, int]:
    """Return the seed of every stream of a block.

    `noise_seed` other than 0 moves the noise stream alone: replicas stay paired in the rest.
    """
    seeds = {stream: stream_seed(root, phase, workload.key, block, stream) for stream in STREAMS}
    if noise_seed:
        seeds["noise"] = stream_seed(root, phase, workload.key, block, f"noise/{noise_seed}")
    return seeds


def known_fields(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record holds of the fields of `kind`, a dataclass; others are left out."""
    return {f.name: record[f.name] for f in fields(kind) if f.name in record}
