"""What one job of a submission is given, and the request to sbatch that it is made into.

Submits nothing. The words are those of submitit, which renders them; see `slurm.sbatch`.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.pack import LANE_ENVIRONMENT
from slurm.site.container import container_srun_options, container_words, quote, runs_by_srun
from slurm.site.own_options import MEMORY, ask_memory, helper_options, join_options
from slurm.site.site import GpuDialect, OptionValue, Site

_FEEDER_TIME_MIN = 10
_FEED = "slurm.feed"
_RANKS_LEAVE_S = 60
# What bash does if a line of `setup` has failed; not for lines within a file that is sourced, nor
# for a command of which the script itself asks how it ended (`||`, `if`).
_ON_FAILURE = (
    "code=$?; [ ${#BASH_SOURCE[@]} -gt 1 ] || { "
    'echo "error: setup of the site profile failed with exit code $code at: '
    '$(sed -n "${LINENO}p" "$0")" >&2; exit "$code"; }'
)


@dataclass(frozen=True)
class JobResources:
    """The resources of one job: `nodes` x `tasks_per_node` processes.

    A process is a rank of a trial that spans several, or a lane of its own (`lanes` > 1). Times in
    minutes; `mem` as sbatch takes it, a node's. Not on the nodes `exclude`, and not before
    `begin_s` seconds after it is sent. GPUs are of `gpu_type`, None for that of the site.
    """

    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    lanes: int = 1
    time_min: int | None = None
    mem: str | None = None
    exclude: tuple[str, ...] = ()
    begin_s: int = 0
    gpu_type: str | None = None

    @property
    def tasks(self) -> int:
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True)
class Request:
    """An sbatch request as data: submitit's parameters and the command of the job."""

    parameters: Mapping[str, Any]
    command: str

    def to_json(self) -> dict[str, Any]:
        return {"parameters": dict(self.parameters), "command": self.command}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Request":
        return Request(record["parameters"], record["command"])


def job_request(
    folder: Path, resources: JobResources, site: Site, module: str = "slurm.node"
) -> Request:
    """Return the request for the jobs of a submission, whose record lies in `folder`.

    Array, name and dependency are added when it is sent; array task N carries pack N. Every
    process of a job runs `module`.
    """
    parameters = _common(site) | {
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "signal_delay_s": site.grace_s,
    }
    parameters["time"] = resources.time_min or site.time_min  # None: the partition's default
    if not resources.gpus_per_node or site.cpus_with_gpus:
        parameters["cpus_per_task"] = resources.cpus_per_task
    extra: dict[str, OptionValue] = {"output": f"{_escape(folder / 'output')}/%a.log"}
    extra |= {"requeue": True} if site.requeue else {"no-requeue": True}
    if resources.exclude:
        extra["exclude"] = ",".join(resources.exclude)
    if resources.begin_s:
        extra["begin"] = f"now+{resources.begin_s}"
    if resources.gpus_per_node:
        extra |= gpu_options(resources, site)
    if resources.tasks == 1 and not runs_by_srun(site):
        # The one process is the batch script itself: without B: it would hear no signal.
        extra["signal"] = f"B:USR2@{site.grace_s}"
    cpus = resources.cpus_per_task * resources.tasks_per_node
    theirs = {name: value for name, value in site.options.items() if name not in MEMORY}
    extra |= ask_memory(site.options, resources.mem, cpus, resources.gpus_per_node)
    parameters["additional_parameters"] = join_options(extra, theirs)
    return Request(parameters, _node_command(folder, resources, site, module))


def feeder_request(
    folder: Path, root: Path, study: str, site: Site, module: str = _FEED
) -> Request:
    """Return the request for the small job that sends the rest of a study from a node.

    With another `module`, return that of the job that looks after the study in the end.
    """
    log = "feed.log" if module == _FEED else "after.log"
    parameters = _common(site) | {
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": 1,
        "time": _FEEDER_TIME_MIN,
        "additional_parameters": helper_options(site.options) | {"output": _escape(folder / log)},
    }
    return Request(parameters, f"exec {_start(site, module, root, study)}")


def probe_request(folder: Path, resources: JobResources, site: Site) -> Request:
    """Return the request for the job by which the doctor looks at nodes, a process each."""
    job = job_request(folder, resources, site)
    extra = dict(job.parameters["additional_parameters"]) | {
        "output": _escape(folder / "output.log")
    }
    parameters = dict(job.parameters) | {"time": _FEEDER_TIME_MIN, "additional_parameters": extra}
    touch = f"touch {shlex.quote(str(folder / 'started'))}"
    start = _start_on_node(site, folder.parent, resources, "slurm.doctor.probe", folder)
    srun = f"exec srun {_srun_options(resources, site, folder.parent)}"
    return Request(parameters, f"{touch}; {srun} {start}")


def _common(site: Site) -> dict[str, Any]:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in LANE_ENVIRONMENT.items()]
    return {
        "setup": [*site.directives, *_checked(site.setup), *exports],
        "stderr_to_stdout": True,
        "use_srun": False,  # if srun is needed, the command has it, with its own options
        "wckey": None,
        **site.destination,
    }


def _checked(setup: Sequence[str]) -> list[str]:
    """Return the lines of a site so that the job ends, and names the line, if one fails."""
    if not setup:
        return []
    return [f"trap {shlex.quote(_ON_FAILURE)} ERR", *setup, "trap - ERR"]


def gpu_options(resources: JobResources, site: Site) -> Mapping[str, Any]:
    """Return the options that ask for GPUs, in the dialect of the site."""
    model = resources.gpu_type or site.gpu_type
    typed = f"{model}:" if model else ""
    here, all_ = resources.gpus_per_node, resources.gpus_per_node * resources.nodes
    words: dict[GpuDialect, dict[str, Any]] = {
        "gres": {"gres": f"gpu:{typed}{here}"},
        "gpus": {"gpus": f"{typed}{all_}"},
        "gpus-per-node": {"gpus-per-node": f"{typed}{here}"},
        "none": {},
    }
    return words[site.gpus]


def _node_command(folder: Path, resources: JobResources, site: Site, module: str) -> str:
    root = folder.parents[2]  # of a submission's folder: that of all studies
    start = _start_on_node(site, root, resources, module, folder)
    if resources.tasks == 1 and not runs_by_srun(site):
        return f"exec {start}"  # no srun: one call less for the controller to answer
    # From version 22.05 on srun does not inherit the CPUs of sbatch. Lanes end one by one; of
    # ranks, those that are left when one has gone end by themselves, unless they hang.
    wait_s = 0 if resources.lanes > 1 else _RANKS_LEAVE_S
    more = f"--wait={wait_s} --unbuffered" + " --label" * (resources.lanes > 1)
    return f"exec srun {_srun_options(resources, site, root)} {more} {start}"


def _srun_options(resources: JobResources, site: Site, root: Path) -> str:
    options = (
        f"--ntasks={resources.tasks} --nodes={resources.nodes} "
        f"--cpus-per-task={resources.cpus_per_task} --kill-on-bad-exit=0 --export=ALL"
    )
    return " ".join([options, *map(shlex.quote, container_srun_options(site, root))])


def _start_on_node(
    site: Site, root: Path, resources: JobResources, module: str, *arguments: object
) -> str:
    """Return the shell words that start a module of a job, in the image of the site if any."""
    if site.image is None:
        return _start(site, module, *arguments)
    words = container_words(site, root, resources.gpus_per_node > 0)
    python = site.python or "python3"
    return f"{quote(words)}{python} {_module_words(module, arguments)}"


def _escape(path: Path) -> str:
    """Return a path in which SLURM replaces nothing; `limits` refuses one with a backslash."""
    return str(path).replace("%", "%%")


def _start(site: Site, module: str, *arguments: object) -> str:
    """Return the shell words that start a module on a node.

    Outside an image, which has no SLURM in it: `python` is that of the image then.
    """
    ours = shlex.quote(sys.executable)
    python = ours if site.image is not None else site.python or ours
    return f"{python} {_module_words(module, arguments)}"


def _module_words(module: str, arguments: Sequence[object]) -> str:
    return shlex.join(["-P", "-m", "thermolion.start", module, *map(str, arguments)])
