"""One pack of a submission on Ray, as the ranks that train its trials meet it."""

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

_LOOK_EVERY_S = 0.25
_RANKS_LEAVE_S = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

_log = logging.getLogger(__name__)


class PackRunner:
    """One pack of a submission; its trials are trained in the folder `here`, if it is there."""

    def __init__(self, folder: Path, pack: int, here: Path) -> None:
        self._layout = Layout(folder.parents[2], folder.parents[1].name)
        self._submission = read_submission(folder)
        self._signals, self._pack, self._here = LaneSignals(folder), pack, here
        self.output = self._layout.job_output(self._submission.id, pack)

    def is_stopped(self) -> bool:
        """Whether the pack is not to begin; of all ranks together, the first one asks."""
        return self._signals.stop_request() is not None

    def run_all(self, ranks: int) -> int:
        """Run the pack as the first rank, and the others beside it; return its exit code."""
        code = self.run(Launch()) if ranks == 1 else _lead(self, ranks)
        self._leave_word(code)
        return code

    def run(self, ranked: Launch) -> int:
        """Run the pack as one rank; return its exit code."""
        text = self._layout.pack(self._submission.id, self._pack).read_text()
        pack = Pack.from_json(json.loads(text))
        if self._here.is_dir():
            os.chdir(self._here)
        self.output.parent.mkdir(exist_ok=True)
        with _printing_to(self.output), self._stopping() as stop:
            launch = Launch(
                device=self._submission.device,
                threads=self._submission.threads,
                stop=stop,
                rank=ranked.rank,
                world_size=ranked.world_size,
                rendezvous=ranked.rendezvous,
            )
            return lane.run_pack(pack, launch)

    def _leave_word(self, code: int) -> None:
        """Say how the pack has ended, unless it is to go on in another attempt of the job."""
        stop = self._signals.stop_request()
        goes_on = code == lane.EXIT_INTERRUPTED and stop is not None and stop.kind
        if not goes_on:
            write_atomically(self.output.with_suffix(".exit"), f"{code}\n")

    @contextmanager
    def _stopping(self) -> Iterator[StopFlag]:
        """Yield a flag that the driver's mark sets.

        A signal that SLURM sends to all processes of a job does not: the driver, which hears it as
        well, knows of which class it is. Nor is it left blocked, as this process was started: what
        a trial starts is to hear signals.
        """
        flag, over = StopFlag(), threading.Event()
        flag.classify = lambda _reason, _at: self._kind()

        def look() -> None:
            while not over.wait(_LOOK_EVERY_S):
                stop = self._signals.stop_request()
                if stop is not None:
                    flag.set(stop.reason)
                    return

        watcher = threading.Thread(target=look, daemon=True)
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


def _lead(place: PackRunner, ranks: int) -> int:
    """Run a pack as rank 0, with all others beside us in the placement group of this trial."""
    meeting = str(place.output.with_suffix(f".{uuid.uuid4().hex}.meet"))
    where = meeting, ray.util.get_node_ip_address()
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
        others.append((beside, beside.run.remote(place, rank, ranks, where)))
    codes = [place.run(_launch(0, ranks, where))]
    for beside, answer in others:
        try:
            codes.append(ray.get(answer, timeout=_RANKS_LEAVE_S))
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            _log.warning("a rank has died, or hangs: %s", error)
        ray.kill(beside)
    return codes[0] or next((code for code in codes if code), 0)


class Rank:
    """A process that trains beside the lane of a trial of several ranks."""

    def run(self, place: PackRunner, rank: int, ranks: int, where: tuple[str, str]) -> int:
        return place.run(_launch(rank, ranks, where))


def _launch(rank: int, ranks: int, where: tuple[str, str]) -> Launch:
    """Return the launch of one rank, which sees no GPU but its own."""
    meeting, host = where
    return Launch(rank=rank, world_size=ranks, rendezvous=Rendezvous(Path(meeting), host))


@contextmanager
def _printing_to(output: Path) -> Iterator[None]:
    """Have whatever this process prints go to a file meanwhile, as that of other jobs does."""
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
