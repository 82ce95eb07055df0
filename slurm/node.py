"""The entry point of a job on its node, one process for each rank or lane.

Started as `python -m slurm.node FOLDER`. Translates SLURM's variables and signals into a launch,
runs the pack, and leaves its exit code.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from jobs import lane
from jobs.contract.atomic_write import write_atomically
from jobs.contract.failures import is_of_one_device
from jobs.contract.layout import Layout
from jobs.contract.oom_kills import OOM_SUFFIX, start_witness
from jobs.contract.pack import Pack
from jobs.ranks.launch import Launch, Rendezvous
from jobs.ranks.rendezvous import call_off
from slurm.environment import JobProcess, forget_job, read_allocation, read_job_process
from slurm.hours_cap import may_start_again
from slurm.job_hours import hours_file, record_run
from slurm.queue.job_ends import write_end
from slurm.queue.pack_states import end_name, exit_name
from slurm.requeue import SIGNALS, Requeue
from slurm.slurm_errors import SlurmError
from slurm.submission import ArrayJobs
from slurm.waiting import read_late

EXIT_NO_GPU = 69  # "a service is unavailable" (sysexits.h)

_BUILT_FOR_GPUS = torch.version.cuda is not None or torch.version.hip is not None

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """What the record of a submission says of its jobs, and which of their processes this is."""

    layout: Layout
    record: Mapping[str, Any]
    here: JobProcess

    @property
    def pack(self) -> Pack:
        """The trials of this process: with several lanes, every lane has its share."""
        path = self.layout.pack(self.record["id"], self.here.pack)
        pack = Pack.from_json(json.loads(read_late(path)))
        if self.lanes == 1:
            return pack
        return replace(pack, trials=pack.trials[self.here.process :: self.lanes])

    @property
    def lanes(self) -> int:
        lanes: int = self.record["request"]["lanes"]
        return lanes

    @property
    def output(self) -> Path:
        return self.layout.job_output(self.record["id"], self.here.pack)

    @property
    def exit_file(self) -> Path:
        """The file of the exit code: every lane has its own, of several ranks the first."""
        lane = self.here.process if self.lanes > 1 else 0
        return self.output.with_name(exit_name(self.here.pack, lane))

    @property
    def meeting(self) -> Path:
        """The file by which the ranks of this job meet."""
        here = self.here
        return self.output.with_name(f"{here.pack}-{here.job}-{here.restarts}.meet")

    def call_off(self, why: str) -> None:
        """Have the other ranks of a trial leave at once, for the first one does not come."""
        if self.lanes == 1 and self.here.processes > 1 and not self.here.process:
            call_off(self.meeting, why)

    def is_ours(self) -> bool:
        """Return True if this job is the one that was meant, and still is to run.

        An intent may have been sent twice, and a pack cancelled before its job began.
        """
        here = self.here
        array_jobs = ArrayJobs(self.layout, self.record["id"])
        if self.exit_file.exists() or array_jobs.is_cancelled:
            return False
        return array_jobs.carries(here.pack, here.name, here.array_job)

    def has_begun(self) -> bool:
        """Return True if this job, or an attempt of it before, has logged anything."""
        return any(self.layout.events.glob(f"{self.record['id']}-{self.here.pack}-*.jsonl"))

    def launch(self) -> Launch:
        """Return the launch of this process; raises SlurmError if a GPU is missing."""
        here, threads = self.here, self.record["threads"]
        launch = Launch(device=self._device(), threads=threads, job=here.task_id)
        if self.lanes > 1:
            return replace(launch, lane=here.process)
        if here.processes == 1:
            return launch
        return join_ranks(launch, here, self.meeting)

    def _device(self) -> str:
        device: str = self.record["device"]
        if device != "cuda" or torch.cuda.is_available():
            return device
        if self.record["request"]["cpu_fallback"]:
            _log.warning("no GPU can be used here: training on the CPU, as the site profile says")
            return "cpu"
        error = (
            f"{self.here.node_name} shows no GPU to this job (CUDA_VISIBLE_DEVICES is "
            f"{os.environ.get('CUDA_VISIBLE_DEVICES')!r}, torch {torch.__version__}): look into "
            "`gpus` of the site profile and into the torch that is installed; `cpu_fallback: "
            "true` trains on the CPU instead"
        )
        if _BUILT_FOR_GPUS and os.environ.get("CUDA_VISIBLE_DEVICES"):
            self.note_gpu_fault(error)  # SLURM has given it one
        raise SlurmError(error)

    def note_gpu_fault(self, error: str) -> None:
        """Write down that the GPU of this process, or a link of several, is broken."""
        here = self.here
        is_known = here.nodes == 1 or is_of_one_device(error)
        node = (here.node_name if is_known else here.node_list) or ""
        folder = self.layout.submission(self.record["id"])
        write_end(folder, here.pack, "GPU_FAULT", node, why=error.partition("\n")[0])


def join_ranks(
    launch: Launch, here: JobProcess, meeting: Path, timeout_s: float = Rendezvous.timeout_s
) -> Launch:
    """Return a launch as that of one rank: all processes of the job meet by the file `meeting`."""
    host = here.first_address or here.node_name or "127.0.0.1"
    return replace(
        launch,
        rank=here.process,
        world_size=here.processes,
        local_rank=here.local_process,
        local_world_size=here.processes // here.nodes,
        device_index=here.local_process if launch.device == "cuda" else None,
        rendezvous=Rendezvous(meeting, host, timeout_s=timeout_s),
    )


def run(assignment: Assignment) -> int:
    """Run the pack of this process; return the exit code of its lane."""
    ended = assignment.output.with_name(end_name(assignment.here.pack))
    ended.unlink(missing_ok=True)  # the job lives again
    try:
        launch = replace(assignment.launch(), on_gpu_fault=assignment.note_gpu_fault)
    except SlurmError as error:
        _log.error("%s", error)
        assignment.call_off(str(error))
        return EXIT_NO_GPU  # and no file of it: this job has never begun
    launch.stop.listen(*SIGNALS)
    start_witness(assignment.output.with_suffix(OOM_SUFFIX))
    pack = assignment.pack
    requeue = Requeue.of(pack, assignment.here, assignment.record["request"])
    launch.stop.classify = requeue.judge
    before = requeue.state()
    code = lane.run_pack(pack, launch)
    if code == lane.EXIT_GPU_FAULT or (code == lane.EXIT_FAILED and not assignment.has_begun()):
        return code  # as above
    if code != lane.EXIT_INTERRUPTED:
        _leave_exit_code(assignment, code)
    elif launch.rank == 0:
        requeue.leave(launch.stop.kind, before)
    return code


def _leave_exit_code(assignment: Assignment, code: int) -> None:
    """Write down that this process has nothing more to do, so that nobody has to ask SLURM."""
    here = assignment.here
    if assignment.lanes == 1 and here.process:
        return  # rank 0 speaks for all
    write_atomically(assignment.exit_file, f"{code}\n")


def main() -> int:
    """Run the pack of this array task in the submission that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = Path(sys.argv[1])
    record = json.loads(read_late(folder / "submission.json"))
    layout = Layout(folder.parents[2], folder.parents[1].name)
    assignment = Assignment(layout, record, read_job_process(os.environ))
    if not assignment.is_ours():
        _log.warning(
            "pack %d was cancelled, or another job carries it: nothing to do", assignment.here.pack
        )
        return 0
    here = assignment.here
    file = hours_file(assignment.output.parent, here.pack, here.process)
    if here.process and assignment.lanes == 1:
        forget_job()
        return run(assignment)  # rank 0 writes down what all of them take
    with record_run(file, here.job, here.restarts, read_allocation(os.environ), here.node_name):
        if here.restarts and not may_start_again(assignment.layout):
            _log.warning("not started again: the study is held at its cap of hours")
            assignment.call_off("the study is held at its cap of hours")
            write_end(
                assignment.output.parents[1], here.pack, "PREEMPTED", here.node_name or "", True
            )
            return 0
        forget_job()
        return run(assignment)


def _leave(code: int) -> NoReturn:
    """End this process at once: torch takes a second and more to be taken down, on a busy node.

    Somebody may wait for the node, and all that has to be on disk is.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
