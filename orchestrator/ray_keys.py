"""The keys of a sweep that say which Ray runs its trials."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator.durations import Duration
from orchestrator.validation import MOST_RANKS, Strict

_ADDRESS = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(
            f"{text!r} is no address: write HOST:PORT, as `ray start --head` has said it (not the "
            "ray:// of a client: the driver has to be where the studies are)"
        )
    return text


class RayKeys(Strict):
    """Which Ray: one of its own on this machine, one that runs already, or one in a SLURM job.

    In a SLURM job it has `nodes` of `cpus_per_node` (by default what a trial needs there), which
    have to be there `nodes_within` the start.
    """

    address: Annotated[str, AfterValidator(_address)] | None = None
    on: Literal["slurm"] | None = None
    nodes: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None
    cpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    nodes_within: Duration = 300.0
    dashboard: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.address is not None and self.on is not None:
            raise ValueError(
                f"address is {self.address} and on is {self.on}: a Ray that runs already, or one "
                "that is started in a job, not both"
            )
        return self
