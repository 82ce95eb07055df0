"""The driver of a submission on Ray: `python -m orchestrator.backends.ray.driver SUBMISSION`.

Started detached, as the pool of the local backend is. It keeps no state that has to be restored:
after whatever end, the next `submit` plans again what has no result.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.lock import Process
from jobs.contract.pack import Pack
from orchestrator.backends.pool import end_pool, exec_unattended, read_exit_code
from orchestrator.backends.ray.session import session
from orchestrator.backends.ray.signals import TUNE, LaneSignals
from orchestrator.backends.records import BackendError, read_pack, read_submission

_HEARTBEAT_S = 15

_log = logging.getLogger(__name__)


class Driver:
    """Runs the packs of a submission that have not ended yet.

    It obeys the signals `heard`; `judge` says their class of failure, empty if they were wanted.
    """

    def __init__(
        self,
        folder: Path,
        heard: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
        judge: Callable[[str], str] = lambda _reason: "",
    ) -> None:
        self._heard, self._judge = heard, judge
        self.layout = Layout(folder.parents[2], folder.parents[1].name)
        self.submission = read_submission(folder)
        self.signals = LaneSignals(folder)
        self._folder = folder
        self._beat_s = 0.0

    def run(self, connected: AbstractContextManager[Any]) -> bool:
        """Run them on the Ray that `connected` opens; return True if it could be opened."""
        try:
            with connected:
                self.listen()
                from orchestrator.backends.ray.tune import PackQueue  # loads Ray

                request = self.submission.request or {}
                for ranks, packs in self._groups():
                    if self._stopped():
                        break
                    queue = PackQueue(
                        folder=self._folder,
                        packs=packs,
                        ranks=ranks,
                        cpus=self.submission.threads,
                        # Ranks of one trial share none: NCCL refuses that.
                        gpus=request["gpus_each"] if ranks == 1 else request["gpus_each"] and 1.0,
                        at_a_time=request["at_a_time"],
                    )
                    queue.run(self._stopped, self.beat)
                shutil.rmtree(self._folder / TUNE, ignore_errors=True)
        except BackendError as error:
            _log.error("%s", error)
            self.signals.write_trouble(str(error))
            return False
        return True

    def listen(self) -> None:
        """Have signals stop all lanes; call it again once Ray has put its own handlers there."""
        for number in self._heard:
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        reason = signal.Signals(number).name
        self.signals.request_stop(reason, self._judge(reason))

    def beat(self) -> None:
        """Show other hosts, now and then, that this process lives."""
        if time.monotonic() - self._beat_s > _HEARTBEAT_S:
            self._beat_s = time.monotonic()
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._folder / "pool.json")

    def _stopped(self) -> bool:
        return self.signals.stop_request() is not None

    def _groups(self) -> Iterator[tuple[int, list[int]]]:
        """Yield ranks and packs that may share lanes: a process imports one version of code."""
        groups: dict[tuple[int, Path | None], list[int]] = {}
        for number in range(self.submission.packs):
            if read_exit_code(self.layout, self.submission.id, number) is None:
                pack: Pack = read_pack(self.layout, self.submission.id, number)
                ranks = pack.trials[0].world_size
                groups.setdefault((ranks, pack.code_root), []).append(number)
        for (ranks, _), packs in groups.items():
            yield ranks, packs


def main() -> None:
    """Run the submission in the folder that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    driver = Driver(Path(sys.argv[1]))
    driver.signals.clear()
    driver.listen()
    write_atomically(Path(sys.argv[1]) / "pool.json", json.dumps(Process.current().to_json()))
    try:
        driver.run(session(driver.submission.request or {}, driver.signals))
    finally:
        end_pool(Path(sys.argv[1]))
    if driver.submission.unattended and driver.signals.stop_request() is None:
        exec_unattended(driver.layout)
    logging.shutdown()
    os._exit(0)  # taking apart what Tune has loaded takes a second


if __name__ == "__main__":
    main()
