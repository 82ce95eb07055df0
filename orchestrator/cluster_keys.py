"""The keys of a sweep that say where its trials run, how they share jobs, how many at a time."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from orchestrator.durations import Duration
from orchestrator.validation import Strict

# Here, because sweeps are checked against the names; what they name is loaded by its users.
BACKENDS: Mapping[str, str] = {
    "local": "orchestrator.backends.local:LocalBackend",
    "ray": "orchestrator.backends.ray_tune:RayBackend",
    "slurm": "orchestrator.backends.slurm:SlurmBackend",
}
# The same if the sweep says `ray.on: slurm`.
IN_A_JOB: Mapping[str, str] = {"ray": "orchestrator.backends.ray_allocation:RayOnSlurm"}


class PackKeys(Strict):
    """How trials share a job of a cluster.

    `trials_per_gpu` run at once in a job, on its GPU if it has one. A job is given work for
    `at_least`; what a trial takes is measured or guessed unless `trial_takes` says it.
    """

    trials_per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    at_least: Duration = 600.0
    trial_takes: Duration | None = None


class LimitKeys(Strict):
    """How much of a cluster a study may have at a time: `concurrent` trials."""

    concurrent: Annotated[int, Field(ge=1)] | None = None
