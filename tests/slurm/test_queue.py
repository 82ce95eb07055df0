"""How often the queue is asked for: the controller is everybody's."""

import itertools
from pathlib import Path

import pytest

from slurm import queue
from slurm.queue import QueueWatch
from slurm.slurm_errors import SlurmError

EVERY_S = 40.0  # the least time between two questions, as sites have it
QUIET = "17|0|RUNNING|n1|None|study-0001.0-abc"
BUSY = f"{QUIET}\n17|1|PENDING||Priority|study-0001.0-abc"


class Controller:
    """A stand-in for squeue, the number of its calls, and a clock that a test turns."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.now = folder, 0.0
        self.says(QUIET)
        script = folder / "squeue"
        script.write_text(f"#!/bin/sh\necho >> {folder}/calls\n. {folder}/answer\n")
        script.chmod(0o755)

    def says(self, text: str) -> None:
        (self._folder / "answer").write_text(f"cat <<END\n{text}\nEND\n")

    def is_silent(self) -> None:
        (self._folder / "answer").write_text("echo no controller >&2; exit 1\n")

    @property
    def calls(self) -> int:
        log = self._folder / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    made = Controller(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(queue, "time", made)
    return made


def _asked_at(watch: QueueWatch, controller: Controller, until_s: float) -> list[float]:
    """Look every five seconds; return the moments at which the controller was asked."""
    asked = []
    while controller.now < until_s:
        before = controller.calls
        watch.look({"me"}, EVERY_S, known=())
        asked += [controller.now] * (controller.calls - before)
        controller.now += 5
    return asked


def test_a_queue_at_rest_is_asked_for_less_and_less_often_and_one_that_moves_is_not(controller):
    watch = QueueWatch()
    asked = _asked_at(watch, controller, 1200)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps[0] == EVERY_S
    assert gaps == sorted(gaps)
    assert gaps[-1] == gaps[-2] == 4.5 * EVERY_S
    controller.says(BUSY)
    seen, again, *_ = _asked_at(watch, controller, 1200 + 6 * EVERY_S)
    assert again - seen == EVERY_S


def test_an_old_answer_serves_while_the_controller_is_silent(controller):
    watch = QueueWatch()
    controller.is_silent()
    with pytest.raises(SlurmError, match="no controller"):
        watch.look({"me"}, EVERY_S, known=())
    controller.says(QUIET)
    first = watch.look({"me"}, EVERY_S, known=())
    controller.is_silent()
    controller.now += EVERY_S
    assert watch.look({"me"}, EVERY_S, known=()) == first
    asked = controller.calls
    controller.now += EVERY_S
    assert watch.look({"me"}, EVERY_S, known=()) == first
    assert controller.calls == asked  # twice the time, for who does not answer


def test_who_has_sent_something_asks_at_once(controller):
    watch = QueueWatch()
    watch.look({"me"}, EVERY_S, known=())
    watch.forget()
    watch.look({"me"}, EVERY_S, known=())
    assert controller.calls == 2
