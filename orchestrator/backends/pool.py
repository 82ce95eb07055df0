"""The pool of the local backend: runs the packs of one submission, one process for each rank.

Started detached as `python -m orchestrator.backends.pool SUBMISSION`. Knows jobs, not trials.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.lock import Process
from jobs.contract.oom_kills import OOM_SUFFIX, count_oom_kills
from jobs.contract.pack import LANE_ENVIRONMENT
from orchestrator.backends.records import Submission, read_record, read_submission

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_ENDED = "pool.ended"  # the file that tells other hosts that a pool has ended
_HEARTBEAT_S = 15
_SILENT_S = 300  # long enough for the clocks and caches of a network mount
# From the end of one rank by a signal or an error to that of the others. They end by themselves,
# at once, unless they hang in something that does not notice, such as a kernel on a GPU.
_GRACE_S = 20.0


class PackProcesses:
    """The ranks of a pack, which end together; `places` are the lanes that they take."""

    def __init__(
        self, pack: int, places: Sequence[int], ranks: Sequence["subprocess.Popen[bytes]"]
    ) -> None:
        self.pack, self.places = pack, places
        self._ranks = ranks
        self._alone_since: float | None = None

    def poll(self, stop: bool) -> int | None:
        """Return the exit code of the pack once no rank lives; ask all to end if `stop` is set.

        It is that of rank 0, which knows how the trials have ended; if that is 0, it is that of
        the first rank that has failed.
        """
        codes = [rank.poll() for rank in self._ranks]
        living = [rank for rank, code in zip(self._ranks, codes, strict=True) if code is None]
        if not living:
            return codes[0] or next((code for code in codes if code), 0)
        if stop:
            _signal(living, signal.SIGTERM)
        if any(codes):
            self._alone_since = self._alone_since or time.monotonic()
            alone_s = time.monotonic() - self._alone_since
            if alone_s > _GRACE_S:
                _signal(living, signal.SIGKILL if alone_s > 2 * _GRACE_S else signal.SIGTERM)
        return None


def _signal(ranks: Sequence["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    for rank in ranks:
        rank.send_signal(number)


def find_pool(folder: Path) -> Process | None:
    """Return the pool that works on a submission, None if it has ended.

    A pool on another host cannot be seen from here: it works until it has said that it has ended,
    or a person that it is gone.
    """
    record = folder / "pool.json"
    try:
        process = read_record(record, lambda fields: Process(**fields))
    except FileNotFoundError:
        return None
    alive = process.lives() if process.is_here else not (folder / _ENDED).exists()
    return process if alive else None


def find_silence_s(folder: Path) -> float | None:
    """Return for how long the pool of another host has given no sign of life, None if it has."""
    pool = find_pool(folder)
    if pool is None or pool.is_here:
        return None
    with contextlib.suppress(FileNotFoundError):
        silence_s = time.time() - (folder / "pool.json").stat().st_mtime
        return silence_s if silence_s > _SILENT_S else None
    return None


def end_pool(folder: Path) -> None:
    """Write down that the pool of a submission has ended, or that it is gone with its host."""
    with contextlib.suppress(OSError):  # the disk is full, or this user only reads
        (folder / _ENDED).touch()


def read_exit_code(layout: Layout, submission: str, pack: int) -> int | None:
    """Return the exit code of a pack's process, None while it has not ended."""
    try:
        return int(layout.job_output(submission, pack).with_suffix(".exit").read_text())
    except FileNotFoundError:
        return None


class Pool:
    """Runs at most `lanes` ranks at a time; on SIGTERM it passes the signal on and waits.

    A pack of more ranks than that runs alone.
    """

    def __init__(self, layout: Layout, submission: Submission) -> None:
        self._layout = layout
        self._submission = submission
        self.stopped = False
        self._free = set(range(submission.lanes))
        self._ranks_by_pack: dict[int, int] = {}
        self._running: list[PackProcesses] = []
        self._oom_kills = count_oom_kills()

    def run(self) -> None:
        """Run all packs; return when the last process has ended."""
        signal.signal(signal.SIGTERM, self._stop)
        waiting = deque(range(self._submission.packs))
        beat = time.monotonic()
        while self._fill(waiting) or self._running:
            time.sleep(0.05)
            self._reap()
            if time.monotonic() - beat > _HEARTBEAT_S:
                beat = time.monotonic()
                os.utime(self._layout.submission(self._submission.id) / "pool.json")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True

    def _fill(self, waiting: deque[int]) -> bool:
        """Start packs in their order while there is room; return True if any was started."""
        started = False
        while waiting and not self.stopped:
            ranks = self._ranks(waiting[0])
            if len(self._free) < min(ranks, self._submission.lanes):
                break
            places = sorted(self._free)[:ranks]
            self._free -= set(places)
            self._running.append(self._start(waiting.popleft(), ranks, places))
            started = True
        return started

    def _ranks(self, pack: int) -> int:
        """Return the number of processes of each trial of a pack; all have the same."""
        if pack not in self._ranks_by_pack:
            record = json.loads(self._layout.pack(self._submission.id, pack).read_text())
            self._ranks_by_pack[pack] = max(
                (trial["world_size"] for trial in record["trials"]), default=1
            )
        return self._ranks_by_pack[pack]

    def _start(self, pack: int, ranks: int, places: list[int]) -> PackProcesses:
        output = self._layout.job_output(self._submission.id, pack)
        output.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "thermolion.start", "jobs.lane"]
        command += [str(self._layout.pack(self._submission.id, pack))]
        command += ["--threads", str(self._submission.threads)]
        command += ["--device", self._submission.device]
        if ranks > 1:
            meeting = output.with_suffix(f".{uuid.uuid4().hex}.meet")
            command += ["--ranks", str(ranks), "--meet", str(meeting)]
        environment = os.environ | LANE_ENVIRONMENT
        if self._submission.device == "cuda":  # every rank sees those of all, and uses one
            gpus = _gpus()
            chosen = dict.fromkeys(gpus[place % len(gpus)] for place in places)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        with output.open("ab") as log:
            processes = [
                subprocess.Popen(
                    [*command, "--rank", str(rank)] if ranks > 1 else command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,
                )
                for rank in range(ranks)
            ]
        return PackProcesses(pack, places, processes)

    def _reap(self) -> None:
        for job in list(self._running):
            code = job.poll(self.stopped)
            if code is not None:
                self._running.remove(job)
                self._free |= set(job.places)
                output = self._layout.job_output(self._submission.id, job.pack)
                if code == -signal.SIGKILL and count_oom_kills() > self._oom_kills:
                    write_atomically(output.with_suffix(OOM_SUFFIX), "")
                self._oom_kills = count_oom_kills()
                write_atomically(output.with_suffix(".exit"), f"{code}\n")


def count_gpus() -> int:
    """Return how many GPUs a pool on this machine may use, without loading torch."""
    return len(_gpus())


@cache
def _gpus() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in lines))]


def _die_with_parent() -> None:
    """Have the kernel stop a pack cleanly if its pool is killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def main() -> None:
    """Run the submission in the folder that the command line names."""
    folder = Path(sys.argv[1])
    layout = Layout(folder.parents[2], folder.parents[1].name)
    submission = read_submission(folder)
    write_atomically(folder / "pool.json", json.dumps(Process.current().to_json()))
    pool = Pool(layout, submission)
    try:
        pool.run()
    finally:
        end_pool(folder)
    if submission.unattended and not pool.stopped:
        exec_unattended(layout)


def exec_unattended(layout: Layout) -> NoReturn:
    """Replace this process, which has nothing left to do, by the one that advances the study."""
    words = ["-P", "-m", "thermolion.start", "orchestrator.unattended"]
    os.execv(sys.executable, [sys.executable, *words, str(layout.root), layout.study])


if __name__ == "__main__":
    main()
