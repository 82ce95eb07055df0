"""The sweep: what a user has asked, checked, with every default filled in.

Opens no data and loads neither torch nor scipy; ids and seeds are `orchestrator.study.trials`'.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from jobs.contract.close_names import find_other_name
from jobs.contract.pack import Keep
from jobs.contract.trial import Candidate
from jobs.contract.workloads.workload import Workload
from orchestrator.sweep.candidates import (
    Groups,
    expand_candidates,
    pair_all,
    pair_candidates,
)
from orchestrator.sweep.document import Document, Invalid, choices, read_document
from orchestrator.sweep.endpoint_keys import resolve_endpoints
from orchestrator.sweep.key_places import find_hyperparameter, find_workload_key
from orchestrator.sweep.keys import (
    AnalysisKeys,
    BlockKeys,
    ConfirmKeys,
    FailureKeys,
    LimitKeys,
    NotifyKeys,
    PackKeys,
    PilotKeys,
    RayKeys,
    Seeds,
    TuneKeys,
    read_notify,
    read_seeds,
)
from orchestrator.sweep.messages import MOST_RANKS, Duration, Ranks, Strict, check
from orchestrator.sweep.search_space import Search, SearchRun
from orchestrator.sweep.space_keys import find_written_args
from orchestrator.sweep.tune_spaces import (
    check_repeats,
    count_searches,
    plan_searches,
    read_searches,
)
from orchestrator.sweep.workload_keys import ImageWorkloadKeys, UserWorkloadKeys
from orchestrator.sweep.workloads import cross_workloads, name_workloads
from slurm.site.own_options import parse_megabytes
from tracking.questions.endpoint import STANDARD, Endpoint

# These lie beside the folders of studies.
_RESERVED = ("archive", "mlflow.db", "mlartifacts")


@dataclass(frozen=True)
class Sweep:
    """A sweep file as checked (`keys`), its workloads and candidates, and who is compared.

    `questions` are pairs of names: (candidate, baseline). `search_runs` are the searches by which
    candidates are tuned, empty if none is. `endpoints` are what questions are asked about, and
    `margins`, by their names, below what a difference is of no interest, in their own unit.
    """

    document: Document
    keys: "SweepFile"
    workloads: tuple[Workload, ...]
    candidates: tuple[Candidate, ...]
    questions: tuple[tuple[str, str], ...]
    search_runs: tuple[SearchRun, ...] = ()
    endpoints: tuple[Endpoint, ...] = STANDARD
    margins: Mapping[str, float] = field(default_factory=dict)

    @property
    def independent_workloads(self) -> int:
        """How many workloads have seeds of their own: ranks and precision take no part in them."""
        return len({one.key for one in self.workloads})

    @property
    def searches(self) -> int:
        """How many independent searches tune each workload; 1 if nothing is tuned."""
        return 1 if self.keys.tune is None else count_searches(self.keys.tune, self.keys.seeds)


def check_study_name(name: str) -> str:
    """Return a name that a study may have; raises ValueError for any other."""
    if name in _RESERVED:
        raise ValueError(
            f"{name!r} is the MLflow store or archive of all studies: choose another name"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError(
            f"{name!r} names a folder: use up to 64 letters, digits, '.', '_' and '-', "
            "a letter or digit first"
        )
    return name


def _check_time(time_s: float) -> float:
    if time_s < 60:
        raise ValueError("SLURM counts in minutes: one at least")
    return time_s


_Time = Annotated[Duration, AfterValidator(_check_time)]
_Memory = Annotated[str, Field(pattern=r"^[0-9]+[KMGT]?B?$")]


class OwnResources(Strict):
    """The time and the memory of the jobs of one workload, or of one candidate."""

    time: _Time | None = None
    mem: _Memory | None = None


class Resources(Strict):
    """What one trial is given: one rank for every GPU, or for every task if there are no GPUs.

    `each` has other times and memory by name of a workload or a candidate; of a trial for which
    both are named, the larger counts. Neither is in the id of a trial.
    """

    nodes: Ranks = 1
    gpus_per_node: Annotated[int, Field(ge=0, le=MOST_RANKS)] = 0
    tasks_per_node: Ranks | None = None
    cpus_per_task: Annotated[int, Field(ge=1, le=1024)] = 1
    time: _Time | None = None
    mem: _Memory | None = None
    each: dict[str, OwnResources] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        if self.gpus_per_node and self.tasks_per_node not in (None, self.gpus_per_node):
            raise ValueError(
                f"tasks_per_node is {self.tasks_per_node} and gpus_per_node {self.gpus_per_node}: "
                "every rank has a GPU of its own, so leave tasks_per_node out"
            )
        return self

    @property
    def ranks(self) -> int:
        """The number of processes that train a trial, unless its workload says otherwise."""
        return self.nodes * self.ranks_per_node

    @property
    def ranks_per_node(self) -> int:
        """The number of these processes that share a node, unless a trial has fewer."""
        return self.gpus_per_node or self.tasks_per_node or 1

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What trials compute on."""
        return "cuda" if self.gpus_per_node else "cpu"

    @property
    def time_min(self) -> int | None:
        """The time of a job in whole minutes; None leaves it to the site."""
        return None if self.time is None else int(self.time // 60)

    def of(self, *names: str) -> tuple[int | None, str | None]:
        """Return minutes and memory of jobs of a workload, a candidate or both, by their names."""
        own = [self.each[name] for name in names if name in self.each]
        times = [one.time for one in own if one.time is not None]
        memory = [one.mem for one in own if one.mem is not None]
        time_min = int(max(times) // 60) if times else self.time_min
        return time_min, max(memory, key=parse_megabytes) if memory else self.mem


class CheckpointPolicy(Strict):
    """How often a trial saves its state, and which of its checkpoints is kept after its end."""

    every: Duration = 600.0
    keep: Keep = "none"


class Compare(Strict):
    """One candidate that is compared with some others, or with all; or `all` pairs of them.

    `compare: all` is short for `pairs: all`.
    """

    candidate: str | None = None
    pairs: Literal["all"] | None = None
    against: (
        Annotated[
            list[str],
            Field(min_length=1),
            BeforeValidator(lambda name: [name] if isinstance(name, str) else name),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        if (self.candidate is None) == (self.pairs is None):
            raise ValueError(
                "write compare: {candidate: NAME}, which is compared with all others, or "
                "compare: all, for every pair"
            )
        if self.pairs is not None and self.against is not None:
            raise ValueError("`pairs: all` leaves nobody out: drop `against`, or name a candidate")
        return self


def _read_compare(value: Any) -> Any:
    if value == "all":
        return {"pairs": "all"}
    if isinstance(value, str):
        raise ValueError(
            f"{value!r}: write compare: {{candidate: {value}}}, or compare: all for every pair"
        )
    return value


class SweepFile(Strict):
    """The keys of a sweep file; its JSON schema is what editors complete from."""

    study: Annotated[str, AfterValidator(check_study_name)]
    workloads: list[Any]
    candidates: dict[str, dict[str, Any] | None]
    defaults: dict[str, Any] | None = None
    baseline: str | None = None
    compare: Annotated[
        Compare | None,
        BeforeValidator(_read_compare, json_schema_input_type=Compare | Literal["all"] | None),
    ] = None
    seeds: Annotated[
        Seeds,
        PlainValidator(
            read_seeds,
            json_schema_input_type=int
            | list[int]
            | dict[Literal["looks", "first"], list[int] | int],
        ),
    ]
    analysis: AnalysisKeys = AnalysisKeys()
    confirms: ConfirmKeys | None = None
    pilot: PilotKeys | None = None
    tune: TuneKeys | None = None
    root_seed: Annotated[int, Field(ge=0)] = 0
    resources: Resources = Resources()
    backend: Literal["local", "slurm", "ray"] = "local"
    site: str | None = None
    ray: RayKeys = RayKeys()
    pack: PackKeys = PackKeys()
    blocks: BlockKeys = BlockKeys()
    limits: LimitKeys = LimitKeys()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    system_metrics: bool = False
    failures: FailureKeys = FailureKeys()
    notify: Annotated[NotifyKeys, BeforeValidator(read_notify)] | None = None

    @classmethod
    def find_place(cls, key: str) -> str | None:
        name = (
            key if key in Resources.model_fields else find_other_name(key, Resources.model_fields)
        )
        if name is not None:
            return f"{name!r} is one of the resources: write resources: {{{name}: …}}"
        fields = {**ImageWorkloadKeys.model_fields, **UserWorkloadKeys.model_fields}
        return find_workload_key(key, fields) or find_hyperparameter(key)

    @property
    def alpha(self) -> float:
        """The level of its family of tests: that of `analysis`, or alpha / 2^j if it confirms."""
        attempts = () if self.confirms is None else self.confirms.attempts
        level: float = self.analysis.alpha / 2 ** len(attempts)
        return level

    @property
    def in_a_job(self) -> bool:
        """True if the trials run on a Ray inside one SLURM job."""
        return self.backend == "ray" and self.ray.on is not None


def read_sweep(path: Path, overrides: Iterable[str] = ()) -> Sweep:
    """Read, check and resolve a sweep file, with `--set` overrides; raises SweepError."""
    return resolve_sweep(read_document(path, overrides))


def resolve_sweep(document: Document) -> Sweep:
    """Check a document and fill in every default; raises SweepError for the first mistake."""
    try:
        return _resolve(document)
    except Invalid as mistake:
        raise document.error(mistake) from mistake


def _resolve(document: Document) -> Sweep:
    entries = cross_workloads(document.data.get("workloads"), document.data.get("defaults"))
    data = document.data | {"workloads": [dict(one.data) for one in entries]}
    keys = check(SweepFile, data, find_written_args)
    workloads = name_workloads(entries, keys.resources.ranks)
    searches: Mapping[str, Search] = {}
    runs: tuple[SearchRun, ...] = ()
    if keys.tune is not None:
        check_repeats(keys.tune, keys.seeds)
        searches = read_searches(keys.tune, keys.candidates, workloads, keys.root_seed)
        runs = plan_searches(keys.tune, keys.seeds, workloads, keys.root_seed)
    has_pilots = keys.pilot is not None
    analysis = keys.analysis
    endpoints, margins = resolve_endpoints(
        analysis.endpoints, analysis.margins, workloads, has_pilots
    )
    _check_shared_seeds(keys.analysis, workloads)
    groups = expand_candidates(keys.candidates, workloads, searches, runs)
    _check_each(keys.resources, [*(one.name for one in workloads), *groups])
    _check_sides(keys, endpoints)
    return Sweep(
        document=document,
        keys=keys,
        workloads=workloads,
        candidates=tuple(candidate for group in groups.values() for candidate in group),
        questions=_pair(keys, groups),
        search_runs=runs,
        endpoints=endpoints,
        margins=margins,
    )


def _check_sides(keys: SweepFile, endpoints: Sequence[Endpoint]) -> None:
    """Raise Invalid for a one-sided question that has no side, or that wins would answer."""
    for place, one in enumerate(endpoints):
        if not one.one_sided:
            continue
        at = ("analysis", "endpoints", place, "one_sided")
        if keys.compare is not None and keys.compare.pairs is not None:
            raise Invalid(
                at,
                "`compare: all` asks about pairs, of which neither is the candidate: leave it "
                "out, or name one (`compare: {candidate: NAME}`)",
            )
        if keys.analysis.primary != "mean":
            raise Invalid(
                at,
                "who wins more often is asked of both sides: leave it out, or write primary: mean",
            )


def _check_each(resources: Resources, names: Sequence[str]) -> None:
    """Raise Invalid for resources of something that the sweep does not have."""
    for name in resources.each:
        if name not in names:
            raise Invalid(
                ("resources", "each", name),
                f"{name!r} is neither a workload nor a candidate: {choices(name, names)}",
            )


def _check_shared_seeds(keys: AnalysisKeys, workloads: Sequence[Workload]) -> None:
    """Raise Invalid if wins would be counted twice: on workloads that have the same seeds."""
    if keys.primary == "mean":
        return
    first: dict[str, str] = {}
    for one in workloads:
        twin = first.setdefault(one.key, one.name)
        if twin != one.name:
            raise Invalid(
                ("analysis", "primary"),
                f"workloads {twin!r} and {one.name!r} differ in ranks or precision alone, so they "
                "have the same seeds, and a win on one says what a win on the other does: write "
                "`primary: mean`, or give them a study each",
            )


def _pair(keys: SweepFile, groups: Groups) -> tuple[tuple[str, str], ...]:
    if keys.baseline is not None and keys.compare is not None:
        raise Invalid(("baseline",), "`compare` is here as well: keep one of the two")
    if keys.baseline is not None:
        return pair_candidates(groups, keys.baseline, None, "baseline")
    if keys.compare is not None and keys.compare.candidate is None:
        if keys.pilot is not None:
            raise Invalid(
                ("pilot",),
                "pilots are runs of the baseline, and `compare: all` has none: name one",
            )
        return pair_all(groups)
    if keys.compare is not None and keys.compare.candidate is not None:
        return pair_candidates(groups, keys.compare.candidate, keys.compare.against, "compare")
    if keys.pilot is not None:
        raise Invalid(
            ("pilot",), "pilots are runs of the baseline: name it (`baseline:` or `compare:`)"
        )
    return ()
