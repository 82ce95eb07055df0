"""The parts of a sweep file: analysis, packs and limits, failures, notices, Ray, tuning, seeds.

Each checks its own keys. The file as a whole is `orchestrator.sweep.sweep`'s; what tuning keys
mean for a candidate is `orchestrator.sweep.search_space`'s.
"""

import itertools
import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from jobs.contract.failures import FailureClass
from orchestrator.sweep.endpoint_keys import (
    USUAL,
    AnyEndpoint,
    Margin,
    NamedEndpoint,
)
from orchestrator.sweep.messages import Duration, Ranks, Strict
from orchestrator.sweep.space_keys import SpaceOfOne

_MOST_SEEDS = 100_000
_LONGEST_NOTICE_S = 600.0
_RAY_ADDRESS = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")

Occasion = Literal["done", "held", "failing"]

_Hours = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]
_Trials = Annotated[int, Field(ge=1, le=10_000)]


class AnalysisKeys(Strict):
    """What is frozen before the first trial of the comparison; see docs/comparing.md.

    `primary` is what verdicts are about: the mean difference, or how often a candidate wins.
    Differences within a margin are of no interest: `rope_pp` is that of endpoints in percentage
    points, `margins` gives an endpoint one of its own, in its own unit.
    """

    endpoints: Annotated[tuple[AnyEndpoint, ...], Field(min_length=1, strict=False)] = USUAL
    alpha: Annotated[float, Field(gt=0, le=0.5, strict=False)] = 0.05
    rope_pp: Annotated[float, Field(gt=0, le=100, strict=False)] = 0.2
    margins: dict[NamedEndpoint, Margin] = Field(default_factory=dict)
    primary: Literal["mean", "win_probability"] = "mean"
    limits: Literal["obrien-fleming", "pocock"] = "obrien-fleming"


class PilotKeys(Strict):
    """Trials of the baselines on separate seeds, from which targets are made.

    A target lies at `quantile` of the way from chance to the median best value of the
    better baseline.
    """

    seeds: Annotated[int, Field(ge=1, le=1000)] = 10
    quantile: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.95


class PackKeys(Strict):
    """How trials share a job of a cluster, or a GPU.

    `trials_per_gpu` run at once in a job, on its GPU if it has one; on this machine, on each GPU,
    as far as there are cores. A job is given work for `at_least`; what a trial takes is measured
    or guessed unless `trial_takes` says it.
    """

    trials_per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    at_least: Duration = 600.0
    trial_takes: Duration | None = None


class BlockKeys(Strict):
    """What all trials of a block have to have in common: `same: gpu`, the model of their GPUs.

    It is for partitions of a cluster that mix models; what a model counts as, SLURM says.
    """

    same: Literal["gpu"] | None = None


class LimitKeys(Strict):
    """How much of a cluster a study may have.

    At a time that is `concurrent` trials; in all, `gpu_hours` and `cpu_hours`, which nothing is
    sent beyond. A job counts with its time limit until it has ended.
    """

    concurrent: Annotated[int, Field(ge=1)] | None = None
    gpu_hours: _Hours | None = None
    cpu_hours: _Hours | None = None

    @property
    def is_capped(self) -> bool:
        """True if there is a cap of hours."""
        return self.gpu_hours is not None or self.cpu_hours is not None


def _leave_out_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)  # each class has its own


class FailureRule(Strict):
    """What follows from one class: so many `retries`, each not before `backoff`.

    What is left out is as in the defaults of that class.
    """

    retries: Annotated[int, Field(ge=0, le=1000, json_schema_extra=_leave_out_default)] = 0
    backoff: Annotated[Duration, Field(json_schema_extra=_leave_out_default)] = 0.0


class NodeRule(FailureRule):
    """No job of the study goes to the node for a while (`exclude: 0s`: it may).

    What is left out is as in the defaults of the class.
    """

    exclude: Duration = 86_400.0


class HostMemoryRule(FailureRule):
    """The next job asks for `mem` times as much memory.

    What is left out is as in the defaults of the class.
    """

    mem: Annotated[float, Field(ge=1, le=64)] = 2.0


class FailureKeys(Strict):
    """How often what has failed is sent again; a preemption costs no retry.

    `timeout`: its time was over, and it had got no further than the attempt before. `node_fail`:
    its node died. `gpu_fault`: a GPU of its node is broken, and another node costs no retry.
    `oom_host`: it took more memory than its job had. `oom_device`: it took more memory than the
    GPU has. `never_started`: its job ended before it began. `user_error`: the training raised an
    exception. `lost`: its process died, and nothing says why. `unattended`: what is to be sent
    again is, without anybody's `submit`.
    """

    timeout: FailureRule = FailureRule(retries=1)
    node_fail: NodeRule = NodeRule(retries=5)
    gpu_fault: NodeRule = NodeRule(retries=5)
    oom_host: HostMemoryRule = HostMemoryRule(retries=2)
    oom_device: FailureRule = FailureRule(retries=0)
    # Constructed unchecked, since a duration that is checked has a unit.
    never_started: FailureRule = FailureRule.model_construct(retries=3, backoff=60.0)
    user_error: FailureRule = FailureRule(retries=0)
    lost: FailureRule = FailureRule(retries=5)
    unattended: bool = False

    @field_validator("*")
    @classmethod
    def _fill_in_defaults(cls, value: Any, field: ValidationInfo) -> Any:
        if not isinstance(value, FailureRule):
            return value
        default: FailureRule = cls.model_fields[str(field.field_name)].default
        return default.model_copy(
            update={name: getattr(value, name) for name in value.model_fields_set}
        )

    def rule(self, failure: FailureClass) -> FailureRule | None:
        """Return what follows from a class of failure; None for one that costs no retry."""
        rule: FailureRule | None = getattr(self, failure.lower(), None)
        return rule


def _check_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no address of a webhook: write http://… or https://…")
    try:
        split = urlsplit(value)
        _ = split.port
    except ValueError as error:
        raise ValueError(f"{value!r} is no address of a webhook: {error}") from error
    if "@" in split.netloc:
        raise ValueError("a webhook takes no user and password: use `command`, with curl")
    return value


def _check_command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no command: {error}") from error
    if not words:
        raise ValueError("the command is empty: name a program and its arguments")
    return value


def _check_timeout(value: float) -> float:
    if not 0 < value <= _LONGEST_NOTICE_S:
        raise ValueError(f"{value:.0f} s is too much or too little: up to 10min")
    return value


class NotifyKeys(Strict):
    """What is called when a study is done, held or failing: a command, a webhook, or both."""

    command: Annotated[str, AfterValidator(_check_command)] | None = None
    url: Annotated[str, AfterValidator(_check_url)] | None = None
    on: Annotated[list[Occasion], Field(min_length=1)] = Field(default=list(get_args(Occasion)))
    timeout: Annotated[Duration, AfterValidator(_check_timeout)] = 15.0

    @model_validator(mode="after")
    def _check_recipient(self) -> Self:
        if self.command is None and self.url is None:
            raise ValueError("nobody is told: name a `command` or a `url`")
        return self


def read_notify(value: Any) -> Any:
    """Read a text as the address of a webhook if it looks like one, else as a command."""
    if not isinstance(value, str):
        return value
    return {"url" if value.startswith(("http://", "https://")) else "command": value}


def _check_address(text: str) -> str:
    if not _RAY_ADDRESS.fullmatch(text):
        raise ValueError(
            f"{text!r} is no address: write HOST:PORT, as `ray start --head` prints it (not the "
            "ray:// of a client: the driver has to run where the studies are)"
        )
    return text


class RayKeys(Strict):
    """Which Ray: a new one on this machine, one that runs already, or a new one in a SLURM job.

    In a SLURM job it has `nodes` of `cpus_per_node` (by default what a trial needs there). All of
    them have to be there within `nodes_within` of the start.
    """

    address: Annotated[str, AfterValidator(_check_address)] | None = None
    on: Literal["slurm"] | None = None
    nodes: Ranks | None = None
    cpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    nodes_within: Duration = 300.0
    dashboard: bool = False

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if self.address is not None and self.on is not None:
            raise ValueError(
                f"address is {self.address} and on is {self.on}: a Ray that runs already, or one "
                "that is started in a job, not both"
            )
        return self


class ProxyKeys(Strict):
    """A cheaper workload that is tuned on: fewer `epochs` or `train_images`, or fewer `steps`.

    `steps` are those of your own training that declares them; the others are of images.
    """

    epochs: Annotated[int, Field(ge=1)] | None = None
    train_images: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is cheaper: write {epochs: 2}, {train_images: 5000} or both")
        return self


class TuneKeys(Strict):
    """Trials by which every candidate gets its settings, before the comparison; docs/tuning.md.

    `trials` is a number for each candidate, workload, search and round: the same for all, or by
    candidate. There are `repeats` independent searches a workload: one for each seed with `looks`,
    else one for each of up to five seeds; they are numbered from `first_search`. Each setting runs
    on `seeds` seeds of the search's own and on `ranks` ranks, on a cheaper workload if there is a
    `proxy`. `widen` says how often a search is widened if a learning rate at its edge has won.
    `untuned` candidates are compared as declared. With `asha`, one setting in `reduction_factor`
    (3) goes on at each of the `rungs` (2).
    """

    trials: _Trials | dict[str, _Trials]
    repeats: Annotated[int, Field(ge=1, le=_MOST_SEEDS)] | None = None
    first_search: Annotated[int, Field(ge=0, le=_MOST_SEEDS)] = 0
    proxy: ProxyKeys | None = None
    search: Literal["sobol", "optuna", "asha"] = "sobol"
    space: dict[str, SpaceOfOne] | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    ranks: Ranks | None = None
    widen: Annotated[int, Field(ge=0, le=5)] = 1
    untuned: tuple[str, ...] = Field((), strict=False)
    allow_unequal: bool = False
    reduction_factor: Annotated[int, Field(ge=2, le=10)] | None = None
    rungs: Annotated[int, Field(ge=1, le=5)] | None = None

    @model_validator(mode="after")
    def _check_asha(self) -> Self:
        given = [name for name in ("reduction_factor", "rungs") if getattr(self, name) is not None]
        if given and self.search != "asha":
            raise ValueError(f"{given[0]} is asha's: write search: asha, or leave it out")
        if self.search == "asha" and self.seeds > 1:
            raise ValueError(
                f"seeds: {self.seeds}, and asha judges trials one by one: a setting would end on "
                "one seed and go on on another; leave `seeds` out, or write search: sobol"
            )
        return self


class ConfirmKeys(Strict):
    """What `--confirm` writes: which study is confirmed, and all earlier attempts at its answer.

    `attempts` are names of studies, the oldest first, which is the study itself. The j-th attempt
    to confirm is tested at alpha / 2^j, so that all of them together keep within alpha.
    """

    study: str
    attempts: Annotated[tuple[str, ...], Field(min_length=1, max_length=30, strict=False)]

    @model_validator(mode="after")
    def _check_attempts(self) -> Self:
        if self.attempts[0] != self.study or len(set(self.attempts)) < len(self.attempts):
            raise ValueError(
                f"attempts {list(self.attempts)}: name the study {self.study!r} first, then each "
                "earlier confirmation once; `submit STUDY --confirm NEW_STUDY` writes this key"
            )
        return self


@dataclass(frozen=True)
class Seeds:
    """`blocks` are seed indices; `looks` are rising numbers of them, empty without any.

    With looks the blocks go from `first` on.
    """

    blocks: tuple[int, ...]
    looks: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """The least block."""
        return min(self.blocks)


def read_seeds(seeds: Any) -> Seeds:
    """Check what the key `seeds` holds; raises ValueError."""
    if isinstance(seeds, dict):
        return _read_looks(seeds)
    listed = seeds if isinstance(seeds, list) else [seeds]
    if not all(type(seed) is int for seed in listed):  # true and false are no numbers
        raise ValueError(
            f"{seeds!r} is neither a number of seeds nor a list of block indices nor looks, such "
            "as {looks: [3, 5, 7, 10]}"
        )
    if not isinstance(seeds, list):
        if seeds < 1:
            raise ValueError(f"{seeds} seeds: at least one is needed")
        if seeds > _MOST_SEEDS:
            raise ValueError(f"{seeds} seeds: {_MOST_SEEDS} is the most")
        return Seeds(tuple(range(seeds)))
    if not seeds:
        raise ValueError("the list is empty: name at least one block index, such as [0]")
    if min(seeds) < 0:
        raise ValueError(f"block index {min(seeds)} is negative: they count from 0")
    repeated = [seed for seed in seeds if seeds.count(seed) > 1]
    if repeated:
        raise ValueError(f"block {repeated[0]} is repeated: a block runs once, name it once")
    return Seeds(tuple(seeds))


def _read_looks(seeds: dict[Any, Any]) -> Seeds:
    looks, first = seeds.get("looks"), seeds.get("first", 0)
    if not seeds.keys() <= {"looks", "first"} or not isinstance(looks, list) or not looks:
        raise ValueError(f"{seeds!r} has no looks: write {{looks: [3, 5, 7, 10]}}")
    if type(first) is not int or not 0 <= first <= _MOST_SEEDS:
        raise ValueError(f"first: {first!r} is no block index from 0 to {_MOST_SEEDS}")
    whole = all(type(look) is int for look in looks)
    if not whole or any(one >= other for one, other in itertools.pairwise(looks)):
        raise ValueError(f"looks are rising numbers of seeds, such as [3, 5, 7, 10], not {looks}")
    if looks[0] < 2:
        raise ValueError(f"a look at {looks[0]} seeds can decide nothing: two are the fewest")
    if looks[-1] > _MOST_SEEDS:
        raise ValueError(f"{looks[-1]} seeds: {_MOST_SEEDS} is the most")
    return Seeds(tuple(range(first, first + looks[-1])), tuple(looks))
