"""One pack of a submission on Ray: the lane runs it as rank 0, with the other ranks beside it."""

import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from jobs import lane
from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.ranks.launch import Launch, Rendezvous, StopFlag
from orchestrator.backends.ray.signals import LaneSignals
from orchestrator.backends.records import read_submission

_POLL_S = 0.25
_RANKS_END_S = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

_log = logging.getLogger(__name__)


class PackRunner:
    """Runs one pack of a submission; its trials are trained in the folder `here`, if it exists."""

    def __init__(self, folder: Path, pack: int, here: Path) -> None:
        self._layout = Layout(folder.parents[2], folder.parents[1].name)
        self._submission = read_submission(folder)
        self._signals, self._pack, self._here = LaneSignals(folder), pack, here
        self.output = self._layout.job_output(self._submission.id, pack)

    def is_stopped(self) -> bool:
        """Whether the pack is not to begin; only the first rank asks."""
        return self._signals.stop_request() is not None

    def run_all(self, ranks: int) -> int:
        """Run the pack as the first rank, and the others beside it; return its exit code."""
        code = self.run(Launch()) if ranks == 1 else _lead(self, ranks)
        self._write_exit_code(code)
        return code

    def run(self, ranked: Launch) -> int:
        """Run the pack as one rank; return its exit code."""
        text = self._layout.pack(self._submission.id, self._pack).read_text()
        pack = Pack.from_json(json.loads(text))
        if self._here.is_dir():
            os.chdir(self._here)
        self.output.parent.mkdir(exist_ok=True)
        with _print_to(self.output), self._watch_for_stop() as stop:
            launch = Launch(
                device=self._submission.device,
                threads=self._submission.threads,
                stop=stop,
                rank=ranked.rank,
                world_size=ranked.world_size,
                rendezvous=ranked.rendezvous,
            )
            return lane.run_pack(pack, launch)

    def _write_exit_code(self, code: int) -> None:
        """Record how the pack has ended, unless another attempt of the job is to continue it."""
        stop = self._signals.stop_request()
        goes_on = code == lane.EXIT_INTERRUPTED and stop is not None and stop.kind
        if not goes_on:
            write_atomically(self.output.with_suffix(".exit"), f"{code}\n")

    @contextmanager
    def _watch_for_stop(self) -> Iterator[StopFlag]:
        """Yield a flag that the driver's request to stop sets.

        A signal that SLURM sends to all processes of a job is ignored here: the driver gets it as
        well and knows its class. This process was started with signals blocked; they are
        unblocked, so that the processes of a trial get them.
        """
        flag, over = StopFlag(), threading.Event()
        flag.classify = lambda _reason, _at: self._kind()

        def watch() -> None:
            while not over.wait(_POLL_S):
                stop = self._signals.stop_request()
                if stop is not None:
                    flag.set(stop.reason)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            yield flag
        finally:
            over.set()
            watcher.join()

    def _kind(self) -> str:
        stop = self._signals.stop_request()
        return "" if stop is None else stop.kind


def _lead(runner: PackRunner, ranks: int) -> int:
    """Run a pack as rank 0, and the other ranks in the placement group of this trial."""
    meeting = str(runner.output.with_suffix(f".{uuid.uuid4().hex}.meet"))
    meeting_at = meeting, ray.util.get_node_ip_address()
    group = ray.util.get_current_placement_group()
    actor = ray.remote(Rank)
    others = []
    for rank in range(1, ranks):
        needs = group.bundle_specs[rank]
        beside = actor.options(
            num_cpus=needs.get("CPU", 0),
            num_gpus=needs.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
        ).remote()
        others.append((beside, beside.run.remote(runner, rank, ranks, meeting_at)))
    codes = [runner.run(_launch(0, ranks, meeting_at))]
    for beside, answer in others:
        try:
            codes.append(ray.get(answer, timeout=_RANKS_END_S))
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            _log.warning("a rank has died, or hangs: %s", error)
        ray.kill(beside)
    return codes[0] or next((code for code in codes if code), 0)


class Rank:
    """An actor that trains one rank beside the lane, which is rank 0."""

    def run(self, runner: PackRunner, rank: int, ranks: int, meeting_at: tuple[str, str]) -> int:
        return runner.run(_launch(rank, ranks, meeting_at))


def _launch(rank: int, ranks: int, meeting_at: tuple[str, str]) -> Launch:
    """Return the launch of one rank, which sees one GPU alone."""
    meeting, host = meeting_at
    return Launch(rank=rank, world_size=ranks, rendezvous=Rendezvous(Path(meeting), host))


@contextmanager
def _print_to(output: Path) -> Iterator[None]:
    """Send all that this process prints to a file meanwhile, as other jobs do."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    handler = logging.StreamHandler(open(2, "w", closefd=False))  # noqa: SIM115 - it is fd 2
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    ours = logging.getLogger("jobs")
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        ours.setLevel(logging.INFO)
        ours.addHandler(handler)
        yield
    finally:
        ours.removeHandler(handler)
        sys.stdout.flush()
        sys.stderr.flush()
        for standard, number in zip(kept, (1, 2), strict=True):
            os.dup2(standard, number)
            os.close(standard)
        os.close(file)
