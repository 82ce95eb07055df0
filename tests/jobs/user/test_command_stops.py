"""Commands that are stopped, killed or fail: nothing is left, and what may go on does."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Study, curve, made, marked
from processes import wait_for

from jobs.contract.events import Event
from jobs.ranks.launch import Launch
from jobs.user import command

LEAVING = """\
import subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(300)", sys.argv[1]]
subprocess.Popen(sleeper, start_new_session=True)
subprocess.Popen(["sh", "-c", '"$@" &', "sh", *sleeper])
import thermolion
thermolion.log(1, val_accuracy=0.5)
"""


def test_nothing_that_a_command_started_outlives_it(study: Study, tmp_path: Path) -> None:
    mark = str(tmp_path)
    events = study.run_script(
        LEAVING + "thermolion.log_final(test_accuracy=0.5)\ntime.sleep(0.3)\n", mark
    )
    assert events[-1].type == "completed"
    assert marked(mark) == []


def test_nothing_outlives_a_lane_that_was_killed(study: Study, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    study.write("train.py", LEAVING + "time.sleep(300)\n")
    pack = study.pack(made(f"python train.py {mark}"))
    path = tmp_path / "pack.json"
    path.write_text(json.dumps(pack.to_json()))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.lane", str(path)], stderr=subprocess.DEVNULL
    ) as lane:
        wait_for(lambda: len(marked(mark)) >= 3)
        lane.kill()
    wait_for(lambda: marked(mark) == [], 10)


def _stop_once(study: Study, ready: Callable[[], bool]) -> threading.Thread:
    def stop() -> None:
        wait_for(ready)
        study.launch.stop.set("SIGTERM")

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


GRACEFUL = """\
import sys, time, thermolion
kept = thermolion.state_dir() / "step"
begin = int(kept.read_text()) if kept.exists() else 0
for step in range(begin, 400):
    if thermolion.should_stop():
        kept.write_text(str(step))
        sys.exit()
    time.sleep(0.01)
    thermolion.log(step, val_accuracy=0.5, begin=begin)
    open(sys.argv[1], "w").write(str(step))
    if begin and step > begin + 3:
        break
thermolion.log_final(test_accuracy=0.5)
"""


def test_a_script_that_keeps_its_state_continues_from_where_it_was_stopped(
    study: Study, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    study.write("train.py", GRACEFUL)
    trial = made(f"python train.py {mark}")
    watcher = _stop_once(study, lambda: mark.exists() and (mark.read_text() or "0") > "3")
    first = study.run_trial(trial)
    watcher.join()
    assert first[-1].type == "interrupted"
    study.launch = Launch()
    second = study.run_trial(trial)
    assert second[-1].type == "completed"
    assert min(curve(second)) == max(curve(first)) + 1
    assert list(study.layout.folder.rglob("*.state")) == []


def test_a_script_that_never_asks_whether_to_stop_is_interrupted_at_once(
    study: Study, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    study.write("train.py", "import sys, time\nopen(sys.argv[1], 'w')\ntime.sleep(300)\n")
    watcher = _stop_once(study, mark.exists)
    begin = time.monotonic()
    events = study.run(f"python train.py {mark}")
    watcher.join()
    assert events[-1].type == "interrupted"
    assert time.monotonic() - begin < command.GRACE_S / 2


def test_a_script_that_does_not_stop_is_killed_after_the_grace_period(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRACE_S", 0.3)
    mark = tmp_path / "mark"
    watcher = _stop_once(study, mark.exists)
    # The line that it is in when it is killed is torn, and no mistake.
    line = f"""trap "" TERM; printf "{{{{\\"step" >> $THERMOLION_LOG; touch {mark}; """
    events = study.run(f"sh -c {shlex.quote(line + 'while :; do sleep 0.05; done')}")
    watcher.join()
    assert events[-1].type == "interrupted"


def test_a_signal_that_reaches_the_command_first_is_no_failure(study: Study) -> None:
    def late() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    study.launch.stop.listen(signal.SIGTERM)
    events: list[Event] = []
    try:
        wait = "sh -c 'sleep 0.2; kill -TERM $$'"
        threading.Thread(target=late).start()
        events = study.run(wait)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert events[-1].type == "interrupted"


def test_a_trial_whose_command_failed_may_find_its_state_again(study: Study) -> None:
    study.write(
        "train.py",
        "import thermolion\nkept = thermolion.state_dir() / 'kept'\n"
        "if not kept.exists():\n    kept.touch()\n    raise SystemExit(3)\n"
        "thermolion.log(1, val_accuracy=0.5)\nthermolion.log_final(test_accuracy=0.5)\n",
    )
    trial = made("python train.py")
    assert study.run_trial(trial)[-1].type == "failed"
    assert study.run_trial(trial)[-1].type == "completed"


def test_waiting_for_a_command_takes_little_processor_time(study: Study) -> None:
    study.write("line", '{"step": 1, "val_accuracy": 1}\n{"final": {"test_accuracy": 0.5}}\n')
    seconds = []
    for wait in (0, 0, 2):  # the first pays for imports
        begin = time.thread_time()
        study.run(f"sh -c 'sleep {wait}; cat line >> $THERMOLION_LOG'")
        seconds.append(time.thread_time() - begin)
    assert seconds[2] - seconds[1] < 0.1


def test_the_id_of_a_trial_depends_on_its_command() -> None:
    assert made("a {lr}").id != made("b {lr}").id
    assert replace(made("a {lr}"), threads=2).id != made("a {lr}").id
