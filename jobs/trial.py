"""A trial: one candidate on one block, named by a hash of its resolved content.

Standard library only: login nodes and compute nodes agree through this file. It resolves no
defaults and checks no names; `orchestrator.sweep` does both before a trial is made.

A field that is added after id version 1 stays out of the hashed content while it holds its
default; otherwise every recorded trial would lose its name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

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
class Workload:
    """Data, model, loss and step budget; `name` is a label and takes no part in identity."""

    name: str
    dataset: str
    model: str
    epochs: int
    global_batch: int
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    split: Literal["fair", "replication"] = "fair"
    train_images: int | None = None
    loss: str = "cross_entropy"

    def content(self) -> dict[str, Any]:
        """Return what identifies the workload, JSON-ready."""
        return {
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

    @cached_property
    def key(self) -> str:
        """The workload's part in seed derivation."""
        return digest(self.content())


@dataclass(frozen=True)
class Candidate:
    """An optimizer with all its hyperparameters; `name` is a label and renaming costs nothing.

    `replica` tells apart candidates of equal content (an A/A study); `noise_seed` gives a replica
    a noise stream of its own.
    """

    name: str
    optimizer: str
    hyperparameters: Mapping[str, Any]
    replica: int = 0
    noise_seed: int = 0

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
    """One candidate on one block (workload, seed index); seeds are by stream, 64-bit."""

    workload: Workload
    candidate: Candidate
    phase: Phase
    block: int
    seeds: Mapping[str, int]
    world_size: int = 1
    threads: int = 1
    precision: str = "fp32"
    execution: str = "plain"

    def content(self) -> dict[str, Any]:
        """Return what the id is a hash of, JSON-ready."""
        return {
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
        labels = {"candidate": self.candidate.name, "workload": self.workload.name}
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
        workload = _known(Workload, record["workload"])
        workload["augment"] = tuple(workload["augment"])
        candidate = _known(Candidate, record["candidate"])
        rest = _known(Trial, record) | {
            "workload": Workload(name=record["labels"]["workload"], **workload),
            "candidate": Candidate(name=record["labels"]["candidate"], **candidate),
        }
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


def _known(kind: type[Workload | Candidate | Trial], record: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: record[f.name] for f in fields(kind) if f.name in record}
