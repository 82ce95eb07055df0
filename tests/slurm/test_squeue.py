"""How often the queue is asked for, and what proves an end: the controller is everybody's."""

import itertools
import os
from pathlib import Path

import pytest

from slurm.queue import squeue
from slurm.queue.squeue import ExpectedJobs, Outstanding, QueueWatch
from slurm.slurm_errors import SlurmError

EVERY_S = 40.0  # the least time between two questions, as sites have it
ME = os.geteuid()
NAME = "study-0001.0-abc"
EMPTY = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|NODELIST|REASON|UID|NAME|COMMAND|."
QUIET = f"{EMPTY}\n17|0|RUNNING|n1|None|{ME}|{NAME}|a.sh|."
BUSY = f"{QUIET}\n17|1|PENDING||Priority|{ME}|{NAME}|a.sh|."
RUNNING = (NAME, 17, 0)
UNKNOWN = "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1\n"


class Controller:
    """A stand-in for squeue, the number of its calls, and a clock that a test turns."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.now = folder, 0.0
        self.says(QUIET)
        self.knows_ids(UNKNOWN)
        self._write(
            "squeue",
            f'echo >> {folder}/calls\ncase "$*" in *--jobs=*) . {folder}/by-id;; '
            f"*) . {folder}/answer;; esac",
        )
        self._write("sacct", "exit 1")

    def says(self, text: str) -> None:
        (self._folder / "answer").write_text(f"cat <<END\n{text}\nEND\n")

    def knows_ids(self, script: str) -> None:
        (self._folder / "by-id").write_text(script)

    def is_private(self, jobs: str) -> None:
        self._write("scontrol", f"echo 'PrivateData = {jobs}'")

    def accounts(self, script: str) -> None:
        self._write("sacct", script)

    def is_silent(self) -> None:
        (self._folder / "answer").write_text("echo no controller >&2; exit 1\n")

    @property
    def calls(self) -> int:
        log = self._folder / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def monotonic(self) -> float:
        return self.now

    def _write(self, command: str, script: str) -> None:
        (self._folder / command).write_text(f"#!/bin/sh\n{script}\n")
        (self._folder / command).chmod(0o755)


def _expected(uid: int = ME, *jobs: tuple[str, int, int]) -> ExpectedJobs:
    known = frozenset(job for _, job, _ in jobs)
    return ExpectedJobs(
        Path("study"), frozenset({ME}), dict.fromkeys(jobs, Outstanding(uid, True)), known
    )


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    made = Controller(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(squeue, "time", made)
    return made


def _asked_at(watch: QueueWatch, controller: Controller, until_s: float) -> list[float]:
    """Look every five seconds; return the moments at which the controller was asked."""
    asked = []
    while controller.now < until_s:
        before = controller.calls
        watch.read(_expected(), EVERY_S)
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
        watch.read(_expected(), EVERY_S)
    controller.says(QUIET)
    first = watch.read(_expected(), EVERY_S)
    controller.is_silent()
    controller.now += EVERY_S
    assert watch.read(_expected(), EVERY_S) == first
    asked = controller.calls
    controller.now += EVERY_S
    assert watch.read(_expected(), EVERY_S) == first
    assert controller.calls == asked  # twice the time, for who does not answer


def test_who_has_sent_something_asks_at_once(controller):
    watch = QueueWatch()
    watch.read(_expected(), EVERY_S)
    watch.forget()
    watch.read(_expected(), EVERY_S)
    assert controller.calls == 2


def test_only_a_job_that_is_missed_is_asked_for_by_its_id_and_once(controller):
    watch, expected = QueueWatch(), _expected(ME, RUNNING)
    assert not watch.read(expected, EVERY_S).gone
    assert controller.calls == 1
    controller.says(EMPTY)
    for calls in (3, 4, 5):
        controller.now += EVERY_S * 5
        for _ in range(2):
            assert watch.read(expected, EVERY_S).gone == {RUNNING}
        assert controller.calls == calls


def test_a_job_that_the_question_by_id_finds_lives(controller):
    controller.says(EMPTY)
    controller.knows_ids(f"cat <<END\n{BUSY}\nEND\n")
    found = QueueWatch().read(_expected(ME, RUNNING, (NAME, 17, 1)), EVERY_S)
    assert [job.state for job in found.jobs] == ["running", "queued"]
    assert (found.gone, found.trouble) == (set(), None)


@pytest.mark.parametrize(("private", "hidden"), [("jobs,usage", True), ("none", False)])
def test_jobs_that_a_site_hides_from_others_have_not_ended(
    controller, monkeypatch, private, hidden
):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    controller.says(EMPTY)
    controller.is_private(private)
    seen = QueueWatch().read(_expected(0, RUNNING), EVERY_S)
    assert seen.gone == (set() if hidden else {RUNNING})
    assert ("PrivateData" in (seen.trouble or "")) == hidden


def test_who_has_cancelled_a_task_is_known_though_sacct_names_its_second_run_by_its_number(
    controller,
):
    task, own = f"17_0|18|REQUEUED|n1|{NAME}", f"18|18|CANCELLED by 4711|n2|{NAME}"
    controller.says(QUIET.replace("RUNNING", "CANCELLED"))
    controller.accounts(f'case "$*" in *--jobs=17*) echo "{task}";; *) echo "{own}";; esac')
    seen = QueueWatch().read(_expected(ME, RUNNING), EVERY_S)
    assert (seen.ended[RUNNING].word, seen.ended[RUNNING].nodes) == ("CANCELLED by 4711", "n2")


def test_a_second_run_that_sacct_names_by_its_number_is_the_last_word_on_a_forgotten_task(
    controller,
):
    controller.says(EMPTY)
    task, own = f"17_0|18|PREEMPTED|n1|{NAME}", f"18|18|TIMEOUT|n2|{NAME}"
    controller.accounts(f'case "$*" in *--jobs=17*) echo "{task}";; *) echo "{own}";; esac')
    seen = QueueWatch().read(_expected(ME, RUNNING), EVERY_S)
    assert seen.ended[RUNNING].word == "TIMEOUT"
