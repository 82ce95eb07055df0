"""A trial: one candidate on one block, named by a hash of its resolved content.

Resolves no defaults and checks no names; `orchestrator.sweep.sweep` does both before a trial is
made. A field that is added after id version 1 stays out of the hashed content while it has its
default; otherwise every recorded trial would lose its name.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from jobs.contract.asha import Rungs
from jobs.contract.content import canonical_json, digest, known_fields
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.contract.workloads.result_sources import sources_from_json
from jobs.contract.workloads.workload import (
    DivergenceLimit,
    ImageWorkload,
    MetricSpec,
    UserWorkload,
    Workload,
)

ID_VERSION = 1
STREAMS = ("split", "init", "order", "augment", "dropout", "noise")

Phase = Literal["pilot", "tune", "compare"]


def stream_seed(root: int, phase: Phase, workload_key: str, block: int, stream: str) -> int:
    """Derive a 64-bit seed from everything that names a random stream, and from nothing else.

    The candidate takes no part (candidates of a block are paired); the phase does (tuning must
    not leak into the comparison).
    """
    key = canonical_json(["v1", root, phase, workload_key, block, stream])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Candidate:
    """An optimizer with all its hyperparameters; `name` is a label and renaming costs nothing.

    `args` are what the user's own training takes and the optimizer does not. `replica` tells apart
    candidates of equal content (an A/A study); `noise_seed` gives a replica a noise stream of its
    own. `setting_of`, a label as well, names the candidate that this one is
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
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Hyperparameters and `args`, of which no two have one name."""
        return {**self.hyperparameters, **self.args}

    @property
    def declared(self) -> str:
        """The name of the candidate that a sweep declares."""
        return self.setting_of or self.name

    def content(self) -> dict[str, Any]:
        """Return what identifies the candidate, JSON-ready."""
        args = {"args": dict(self.args)} if self.args else {}
        return args | {
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

    @property
    def options(self) -> Mapping[str, Any]:
        """What the user's own training is told: the workload's options, the candidate's `args`."""
        return {**self.user_workload.options, **self.candidate.args}

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
        if "results" in workload:
            workload["results"] = sources_from_json(workload["results"])
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
