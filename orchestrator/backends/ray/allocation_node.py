"""A Ray within one SLURM job, a process a node: `python -m
orchestrator.backends.ray.allocation_node FOLDER`.

The first process starts the head and drives the packs, the others add their nodes to it. Ports are
free ones, files lie in a temporary folder, and one token keeps all others out.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import open_atomically, write_atomically
from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from orchestrator.backends.pool import read_exit_code
from orchestrator.backends.ray.driver import Driver
from orchestrator.backends.ray.session import QUIET, remove_folder, session
from orchestrator.backends.records import (
    BackendError,
    Submission,
    read_pack,
    read_submission,
    submission_file,
)
from slurm.environment import JobProcess, forget_job, read_allocation, read_job_process
from slurm.hours_cap import may_start_again
from slurm.job_hours import hours_file, record_run
from slurm.queue.pack_states import exit_name
from slurm.requeue import SIGNALS, Requeue
from slurm.site.facts import expand_nodes, find_address
from slurm.submission import ALLOCATION, ArrayJobs, allocation_record
from slurm.waiting import read_late

EXIT_NO_RAY = 69  # "a service is unavailable" (sysexits.h)
_LOOK_S = 0.2
_HEAD_S = 120.0  # for a head to be up

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One process of the job: `folder` is the job's, beside that of the submission."""

    folder: Path
    here: JobProcess

    @property
    def layout(self) -> Layout:
        return Layout(self.folder.parents[2], self.folder.parents[1].name)

    @cached_property
    def submission(self) -> Submission:
        read_late(submission_file(self.work))
        return read_submission(self.work)

    @property
    def work(self) -> Path:
        """The folder of the submission whose packs are run."""
        return self.folder.with_name(self.folder.name.removesuffix(ALLOCATION))

    @property
    def request(self) -> Mapping[str, Any]:
        return self.submission.request or {}

    @property
    def exit_file(self) -> Path:
        """The file that says that this job has nothing more to do."""
        return self.folder / "output" / exit_name(self.here.pack, 0)

    @property
    def _run(self) -> Path:
        """The stem of files that belong to this attempt of the job alone."""
        return self.folder / f"{self.here.job}-{self.here.restarts}"

    @property
    def meeting(self) -> Path:
        """The file in which the first process says how its Ray is reached, for this user alone."""
        return self._run.with_suffix(".meet")

    @property
    def over(self) -> Path:
        """The file that is there once the first process has no use for the others any more."""
        return self._run.with_suffix(".over")

    @cached_property
    def address(self) -> str:
        """The address of this node; that of one that is alone is nobody else's business."""
        if self.here.nodes == 1 or self.here.node_name is None:
            return "127.0.0.1"
        return find_address(self.here.node_name)

    def is_ours(self) -> bool:
        """Return True if this job is the one that was meant, and still is to run."""
        array_jobs = ArrayJobs(self.layout, self.folder.name)
        if self.exit_file.exists() or array_jobs.is_cancelled:
            return False
        return array_jobs.carries(self.here.pack, self.here.name, self.here.array_job)


def lead(member: Member) -> int:
    """Start the head, wait for the others, drive the packs, and leave or go back to the queue."""
    requeue = _make_requeue(member)
    driver = Driver(member.work, SIGNALS, lambda r: requeue.judge(r, time.monotonic()))
    driver.signals.clear()
    driver.listen()
    before = requeue.state()

    def leave() -> None:
        """Go back to the queue if there is more to do, while there is time for it."""
        stopped = driver.signals.stop_request()
        if stopped is not None and stopped.kind and not _done(member):
            requeue.leave(stopped.kind, before)

    try:
        found = driver.run(_head(member, driver, leave))
    finally:
        member.over.touch()
        member.meeting.unlink(missing_ok=True)
    stopped = driver.signals.stop_request()
    if found and stopped is not None and stopped.kind and not _done(member):
        return 0
    code = 0 if found else EXIT_NO_RAY
    write_atomically(member.exit_file, f"{code}\n")
    return code


def follow(member: Member) -> int:
    """Add this node to the head's Ray, until the head has no use for it any more."""
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: None)  # the head decides
    head = _meet(member)
    if head is None:
        return EXIT_NO_RAY
    lets_in = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head["token"]}
    environment = {**os.environ, **QUIET, **LANE_ENVIRONMENT, **lets_in}
    words = ["start", "--block", f"--address={head['address']}"]
    words += [f"--node-ip-address={member.address}", f"--num-cpus={member.request['cpus']}"]
    words += [f"--num-gpus={member.request['gpus']}", "--dashboard-agent-listen-port=0"]
    words += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
    words += [f"--object-store-memory={head['store']}"]
    words += [f"--resources={json.dumps({_resource(member.here.process): 1})}"]
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", *words]
    lost = False
    with _blocking_signals():
        node = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        while not member.over.exists():
            if node.poll() is not None and not lost:
                lost = True  # the others go on without: srun ends them soon after one has left
                _log.error("the Ray of this node has ended with exit code %d", node.returncode)
            time.sleep(_LOOK_S)
    finally:
        node.kill()  # what it has started dies with it
        node.wait()
        if member.over.exists():
            remove_folder(Path(head["temp"]))
    return EXIT_NO_RAY if lost else 0


def _meet(member: Member) -> Mapping[str, Any] | None:
    """Return how the head's Ray is reached, None if that is over, or not told in time."""
    patience_s = _HEAD_S + member.request["nodes_within_s"]
    end = time.monotonic() + patience_s
    while not member.over.exists():
        try:
            head: Mapping[str, Any] = json.loads(member.meeting.read_text())
        except FileNotFoundError:
            if time.monotonic() > end:
                _log.error("the head has not said within %.0f s where it is", patience_s)
                return None
            time.sleep(_LOOK_S)
        else:
            return head
    return None


@contextmanager
def _head(member: Member, driver: Driver, leave: Callable[[], None]) -> Iterator[None]:
    """Be the head, once all nodes have joined; in the end `leave` comes before all else."""
    with _blocking_signals():
        opened = session(member.request, driver.signals, member.address)
        head = opened.__enter__()
        driver.listen()  # before what has come meanwhile is heard
    try:
        _publish(member, head)
        if member.here.nodes > 1:
            _await_nodes(member, driver)
        yield
        leave()
    finally:
        member.over.touch()
        opened.__exit__(None, None, None)


def _publish(member: Member, head: Mapping[str, Any]) -> None:
    with open_atomically(member.meeting, mode=0o600) as file:
        file.write(json.dumps(dict(head)).encode())


def _await_nodes(member: Member, driver: Driver) -> None:
    """Wait for all nodes; raises BackendError that names the missing."""
    import ray

    patience_s = member.request["nodes_within_s"]
    end = time.monotonic() + patience_s
    while True:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        others = range(1, member.here.nodes)
        absent = [n for n in others if not any(_resource(n) in one for one in alive)]
        if not absent or driver.signals.stop_request() is not None:
            return
        if time.monotonic() > end:
            names = expand_nodes(member.here.node_list or "")
            missing = [names[n] if n < len(names) else f"process {n}" for n in absent]
            raise BackendError(
                f"{len(absent)} of {member.here.nodes} nodes have not joined the Ray of this job "
                f"within {patience_s:.0f} s: {', '.join(missing)}; look into {member.folder}/"
                f"output, or give them more time (ray.nodes_within)"
            )
        driver.beat()
        time.sleep(_LOOK_S)


def _resource(process: int) -> str:
    """Return what a node has and no other one, by which the head knows who is there."""
    return f"thermolion_{process}"


def _make_requeue(member: Member) -> Requeue:
    """Return how this job leaves before it is done, judged by all trials that it carries."""
    layout, submission = member.layout, member.submission
    packs = [read_pack(layout, submission.id, number) for number in range(submission.packs)]
    trials = tuple(trial for pack in packs for trial in pack.trials)
    pack = Pack(layout, member.folder.name, member.here.pack, trials)
    request = allocation_record(submission.to_json())["request"]
    return Requeue.of(pack, member.here, request, submission.id)


def _done(member: Member) -> bool:
    packs = range(member.submission.packs)
    return all(read_exit_code(member.layout, member.submission.id, n) is not None for n in packs)


@contextmanager
def _blocking_signals() -> Iterator[None]:
    """Have what is started meanwhile never hear what SLURM sends to all processes of a job.

    Ray's own would end at once, and take the lanes along before they have saved.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def main() -> int:
    """Run this process's part of the job in the folder that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    member = Member(Path(sys.argv[1]), read_job_process(os.environ))
    if not member.is_ours():
        _log.warning("this job was cancelled, or another one does its work: nothing to do")
        return 0
    here, had = member.here, read_allocation(os.environ)
    if here.process:
        forget_job()
        return follow(member)
    file = hours_file(member.exit_file.parent, here.pack)
    with record_run(file, here.job, here.restarts, had, here.node_name):
        if here.restarts and not may_start_again(member.layout):
            _log.warning("not started again: the study is held at its cap of hours")
            member.over.touch()
            return 0
        forget_job()
        return lead(member)


if __name__ == "__main__":
    sys.exit(main())
