"""SLURM's variables, in one table: what they say of a process, and who must not inherit them.

Nothing else in the project reads them but the site profile, which takes up what a user's shell
says to sbatch.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.ranks.launcher_variables import KEPT_SLURM
from slurm.slurm_errors import SlurmError

PACK_VARIABLE = "THERMOLION_PACK"
# By field of `JobProcess`: the variables that say it, of which the first that is set counts.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "job": ("SLURM_JOB_ID",),
    "array_job": ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"),
    "pack": ("SLURM_ARRAY_TASK_ID", PACK_VARIABLE),  # which an array names, or else our script
    "array_task": ("SLURM_ARRAY_TASK_ID",),
    "process": ("SLURM_PROCID",),
    "processes": ("SLURM_STEP_NUM_TASKS",),
    "local_process": ("SLURM_LOCALID",),
    "nodes": ("SLURM_JOB_NUM_NODES", "SLURM_NNODES"),
    "restarts": ("SLURM_RESTART_COUNT",),
    # The node on which srun was called: of a batch job that is the first one, where rank 0 is.
    "first_address": ("SLURM_LAUNCH_NODE_IPADDR",),
    "node_name": ("SLURMD_NODENAME",),
    "node_list": ("SLURM_JOB_NODELIST", "SLURM_NODELIST"),
    "name": ("SLURM_JOB_NAME",),
}
_TEXTS = (
    "first_address",
    "node_name",
    "node_list",
    "name",
    "array_task",
)  # None if nothing says them
_REQUIRED = ("job", "array_job", "pack")
_ALONE = {"processes": 1, "nodes": 1}  # the numbers that are not 0 if nothing says them
# Options of SLURM's commands as well: SQUEUE_ACCOUNT would hide our own jobs from us.
_OURS = (
    *("SLURM_", "SBATCH_", "SRUN_", "SLURMD_", "SALLOC_"),
    *("SQUEUE_", "SINFO_", "SCANCEL_", "SCONTROL_", "SACCT_", "SACCTMGR_"),
    PACK_VARIABLE,
)


@dataclass(frozen=True)
class JobProcess:
    """One process of a job: which pack it works on, and its place among the others of the job.

    `restarts` counts how often SLURM has requeued the job; `name` is the job's, and `node_list`
    has the nodes of the job as SLURM writes them. `array_task` is None if the job is no array's.
    """

    job: int
    array_job: int
    pack: int
    process: int
    processes: int
    local_process: int
    nodes: int
    restarts: int
    first_address: str | None
    node_name: str | None
    name: str | None
    node_list: str | None
    array_task: str | None

    @property
    def task_id(self) -> str:
        """The id that squeue shows and scontrol takes."""
        is_single = self.array_task is None
        return f"{self.array_job}" if is_single else f"{self.array_job}_{self.pack}"


def read_job_process(variables: Mapping[str, str]) -> JobProcess:
    """Return the process that the variables describe; raises SlurmError outside an array job."""
    values: dict[str, Any] = {
        field: next((variables[name] for name in names if variables.get(name)), None)
        for field, names in _WORDS.items()
    }
    for field in _REQUIRED:
        if values[field] is None:
            raise SlurmError(
                f"{_WORDS[field][0]} is not set: this runs inside the jobs that `thermolion "
                "submit` sends"
            )
    for field in values.keys() - set(_TEXTS):
        values[field] = int(values[field] or _ALONE.get(field, 0))
    return JobProcess(**values)


def read_job_id(variables: Mapping[str, str]) -> int | None:
    """Return the id of the job that this process is in, None outside one."""
    text = variables.get("SLURM_JOB_ID")
    return int(text) if text else None


def read_allocation(variables: Mapping[str, str]) -> tuple[int, int]:
    """Return how many CPUs and GPUs the job that this process is in has on all of its nodes."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", variables.get("SLURM_JOB_CPUS_PER_NODE", ""))
    cpus = sum(int(count) * int(nodes or 1) for count, nodes in parts)
    here = variables.get("SLURM_GPUS_ON_NODE", "")
    nodes = int(variables.get("SLURM_JOB_NUM_NODES") or 1)
    return cpus, int(here) * nodes if here.isdecimal() else 0


@contextlib.contextmanager
def without_job() -> Iterator[None]:
    """Hide SLURM's variables, those of a job and those of its user, from commands of the block.

    A nested sbatch would take them for its own options.
    """
    hidden = forget_job()
    try:
        yield
    finally:
        os.environ.update(hidden)


def forget_job() -> dict[str, str]:
    """Remove SLURM's variables from the environment and return them.

    Otherwise a training would take its lane for a rank.
    """
    names = [name for name in os.environ if name.startswith(_OURS) and name not in KEPT_SLURM]
    return {name: os.environ.pop(name) for name in names}
