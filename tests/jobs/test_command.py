"""A user's own training as a command, run by a lane: what it is given, heard, told and left."""

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
from typing import Any

import pytest
from processes import wait_for

from jobs import command, command_line
from jobs.catalog import DataError
from jobs.command_line import checked_command, placeholders, render
from jobs.events import Event, read_events
from jobs.lane import run_pack
from jobs.launch import Launch
from jobs.layout import Layout
from jobs.pack import Pack
from jobs.trial import Candidate, Reading, Trial, Workload, block_seeds

READING = Reading("val_accuracy", "test_accuracy", chance=0.1, unit="fraction")
HYPERPARAMETERS = {"lr": 1e-05, "betas": [0.9, 0.99], "nesterov": False}


def _trial(line: str, options: dict[str, Any] | None = None, **fields: Any) -> Trial:
    workload = Workload("mine", command=line, options=options or {}, reading=READING)
    candidate = Candidate("sgd[lr=1e-05]", "sgd", HYPERPARAMETERS)
    seeds = block_seeds(0, "compare", workload, 3)
    return Trial(workload, candidate, "compare", 3, seeds, **fields)


class Study:
    """A study of commands; `run` sends one through a lane in this process."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder / "studies", "own")
        self.code = folder / "code"
        self.code.mkdir()
        self.launch = Launch()
        self.sent = 0

    def write(self, name: str, text: str) -> None:
        (self.code / name).parent.mkdir(exist_ok=True)
        (self.code / name).write_text(text)

    def pack(self, trial: Trial, **fields: Any) -> Pack:
        self.sent += 1
        return Pack(self.layout, f"s{self.sent}", 0, (trial,), code_root=self.code, **fields)

    def run(self, line: str, **fields: Any) -> list[Event]:
        return self.run_trial(_trial(line), **fields)

    def run_trial(self, trial: Trial, **fields: Any) -> list[Event]:
        pack = self.pack(trial, **fields)
        run_pack(pack, self.launch)
        events = read_events(self.layout.event_log(pack.submission, 0, 0, 0))
        return [event for event in events if event.trial == trial.id]

    def run_script(self, text: str, *arguments: str) -> list[Event]:
        self.write("train.py", text)
        return self.run(" ".join(["python train.py", *arguments]))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as a lane has it
    paths = list(sys.path)
    monkeypatch.setattr(sys, "path", paths)
    return Study(tmp_path)


def _curve(events: list[Event]) -> dict[int, dict[str, float]]:
    return {e.payload["step"]: e.payload["metrics"] for e in events if e.type == "evaluated"}


def _failure(events: list[Event]) -> tuple[str, str]:
    last = events[-1]
    assert last.type == "failed", last
    return last.payload["kind"], last.payload["error"]


# What a command is given.

NAMES = command_line.available({"depth": 2}, HYPERPARAMETERS)


def _values(trial: Trial) -> dict[str, str]:
    return placeholders(trial, "cpu", Path("/data dir"), Path("/s"), Path("/t.json"))


def test_words_are_split_first_so_a_value_with_spaces_and_quotes_stays_one_word() -> None:
    options = {"note": "two words; 'quoted' $HOME"}
    trial = _trial("run --note={note} '{note} again' {data}", options)
    note = options["note"]
    assert render(trial.workload.command or "", _values(trial)) == [
        "run",
        f"--note={note}",
        f"{note} again",
        "/data dir",
    ]


def test_values_are_written_as_programs_read_them() -> None:
    options = {"depth": 2, "amp": True, "nothing": None, "sizes": [1, 2]}
    trial = _trial("{lr} {betas} {nesterov} {depth} {amp} {nothing} {sizes} {{lr}}", options)
    words = render(trial.workload.command or "", _values(trial))
    assert words == ["1e-05", "0.9,0.99", "false", "2", "true", "none", "1,2", "{lr}"]


def test_every_placeholder_that_planning_allows_can_be_filled() -> None:
    trial = _trial("x", {"depth": 2})
    assert set(_values(trial)) == set(NAMES)


def test_seeds_fit_every_framework_and_differ_by_stream() -> None:
    trial = _trial("x")
    values = _values(trial)
    assert values["seed"] == values["seed_init"] == str(trial.seeds["init"] % 2**31)
    assert len({values[f"seed_{stream}"] for stream in trial.seeds}) == len(trial.seeds)


def test_hyperparameters_can_be_handed_over_all_at_once() -> None:
    trial = _trial("{hyperparameters}")
    (word,) = render(trial.workload.command or "", _values(trial))
    assert json.loads(word) == HYPERPARAMETERS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["empty"]),
        ("python 'train.py", ["cannot be split", "No closing quotation"]),
        ("python train.py {lrr}", ["'lrr'", "did you mean 'lr'", "seed_dropout"]),
        ("python train.py {lr:.2f}", ["'lr:.2f'"]),
        ("python train.py {lr", ["single '{'", "{{"]),
        ("python train.py {}", ["unknown placeholder ''"]),
        ("python train.py {seed} {optimizer}", ["'lr'", "no effect", "--lr {lr}"]),
        ("python train.py {lr} {optimizer}", ["'seed'", "no effect", "--seed {seed}"]),
        ("python train.py {lr} {seed}", ["'optimizer'", "no effect"]),
    ],
)
def test_a_command_that_cannot_work_is_refused_in_words(line: str, words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        checked_command(line, NAMES, ["lr", "optimizer", "seed"])
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "line", ["a {lr} {candidate} {seed_order}", "a {trial_file}", "a {hyperparameters} {trial}"]
)
def test_what_stands_for_the_rest_is_enough(line: str) -> None:
    assert checked_command(line, NAMES, ["lr", "optimizer", "seed"]) == line.split()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, "option 'seed' has the name of a placeholder"),
        ({"lr": 1}, "a hyperparameter"),
    ],
)
def test_two_things_of_one_name_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        command_line.available(options, HYPERPARAMETERS)


def test_a_command_that_needs_the_data_root_says_so_where_there_is_none() -> None:
    trial = _trial("x {data}")
    values = placeholders(trial, "cpu", None, Path("/s"), Path("/t"))
    with pytest.raises(DataError, match="--data"):
        render("x {data}", values)


REPORTING = """\
import json, os, sys
facts = {"argv": sys.argv[1:], "cwd": os.getcwd(), "python": sys.executable, "path": sys.path[0]}
facts |= {k: v for k, v in os.environ.items() if k.startswith(("THERMOLION_", "OMP_", "PYTHON"))}
facts["trial"] = json.load(open(os.environ["THERMOLION_TRIAL"]))
open(sys.argv[1], "w").write(json.dumps(facts))
import thermolion
thermolion.log(1, val_accuracy=0.5)
thermolion.log_final(test_accuracy=0.6)
"""


def test_a_script_finds_its_trial_its_siblings_our_python_and_its_threads(
    study: Study, tmp_path: Path
) -> None:
    study.write("train.py", "import sibling\n" + REPORTING)
    study.write("sibling.py", "")
    trial = _trial(f"python train.py {tmp_path}/facts {{lr}} {{data}}", threads=2)
    study.run_trial(trial, data_root=tmp_path)
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["argv"][1:] == ["1e-05", str(tmp_path)]
    assert Path(facts["cwd"]) == Path(facts["path"]) == study.code
    assert Path(facts["python"]).parent == Path(sys.executable).parent
    assert Trial.from_json(facts["trial"]).id == trial.id
    assert facts["OMP_NUM_THREADS"] == "2"
    assert facts["THERMOLION_SEED"] == str(trial.seeds["init"] % 2**31)
    assert facts["THERMOLION_DEVICE"] == "cpu"
    assert "PYTHONSAFEPATH" not in facts


def test_a_project_with_folders_of_our_names_meets_its_own(study: Study) -> None:
    for name in ("jobs", "tracking", "slurm", "orchestrator"):
        study.write(f"{name}/__init__.py", f"WHOSE = 'theirs: {name}'\n")
    events = study.run_script(
        "import jobs, orchestrator, slurm, tracking, thermolion\n"
        "assert {m.WHOSE[:6] for m in (jobs, orchestrator, slurm, tracking)} == {'theirs'}\n"
        "thermolion.log(1, val_accuracy=0.5)\nthermolion.log_final(test_accuracy=0.5)\n"
    )
    assert events[-1].type == "completed"


# What is heard of it.


def test_what_a_script_logs_is_the_curve_and_what_it_logs_as_final_the_result(
    study: Study,
) -> None:
    events = study.run_script(
        "import thermolion\n"
        "for step in (1, 2, 3):\n"
        "    thermolion.log(step, val_accuracy=step / 4)\n"
        "thermolion.log(3, loss=0.5)\n"
        "thermolion.log_final(test_accuracy=0.875)\n"
    )
    assert [event.type for event in events] == ["started", *["evaluated"] * 4, "completed"]
    points = [(e.payload["step"], e.payload["metrics"]) for e in events if e.type == "evaluated"]
    assert points[:3] == [(step, {"val_accuracy": step / 4}) for step in (1, 2, 3)]
    assert points[3] == (3, {"loss": 0.5})
    final = {"val_accuracy": 0.75, "loss": 0.5, "test_accuracy": 0.875}
    assert events[-1].payload["metrics"] == final


def test_a_metric_is_heard_while_the_command_runs(study: Study, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    line = """sh -c 'echo "{{\\"step\\": 1, \\"val_accuracy\\": 0.5}}" >> $THERMOLION_LOG; """
    line += f"""while ! test -e {gate}; do sleep 0.02; done; echo "{{{{\\"final\\": """
    line += """{{\\"test_accuracy\\": 1}}}}" >> $THERMOLION_LOG'"""
    log = study.layout.event_log("s1", 0, 0, 0)

    def open_once_heard() -> None:
        try:
            wait_for(lambda: log.exists() and b'"val_accuracy":0.5' in log.read_bytes(), 20)
        finally:
            gate.touch()

    watcher = threading.Thread(target=open_once_heard)
    watcher.start()
    events = study.run(line)
    watcher.join()
    assert [event.type for event in events] == ["started", "evaluated", "completed"]
    seconds = (events[2].time_ms - events[1].time_ms) / 1000
    assert seconds < 10


@pytest.mark.parametrize("text", ['"nan"', "NaN", '"inf"', "-Infinity"])
def test_a_curve_that_is_not_finite_ends_the_trial_as_diverged(study: Study, text: str) -> None:
    begin = time.monotonic()
    study.write("line", f'{{"step": 4, "val_accuracy": {text}}}\n')
    events = study.run("sh -c 'touch $THERMOLION_STATE/x; cat line >> $THERMOLION_LOG; sleep 60'")
    assert events[-1].type == "diverged"
    assert list(study.layout.folder.rglob("*.state")) == []
    assert "step 4" in events[-1].payload["error"]
    assert time.monotonic() - begin < 20


def test_a_last_line_without_its_end_counts_where_the_command_ended_well(study: Study) -> None:
    study.write("lines", '{"step": 1.0, "val_accuracy": 1}\n\n{"final": {"test_accuracy": 0.5}}')
    events = study.run("sh -c 'cat lines >> $THERMOLION_LOG'")
    assert _curve(events) == {1: {"val_accuracy": 1.0}}
    assert events[-1].payload["metrics"]["test_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("epoch 1: 0.5", "epoch 1: 0.5"),
        ('{"step": 1}', "no metric"),
        ('{"val_accuracy": 0.5}', "no 'step'"),
        ('{"step": -1, "val_accuracy": 0.5}', "0 or more"),
        ('{"step": 1.5, "val_accuracy": 0.5}', "whole number"),
        ('{"step": 1, "val_accuracy": "high"}', "'high'"),
        ('{"step": 1, "val_accuracy": true}', "True"),
        ('{"final": 3}', '{"final": 3}'),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_a_line_that_is_none_fails_the_trial_and_is_shown(
    study: Study, line: str, why: str
) -> None:
    study.write("lines", f"{line}\n")
    kind, error = _failure(study.run("sh -c 'cat lines >> $THERMOLION_LOG; sleep 60'"))
    assert kind == "BadLine"
    assert why in error
    assert '{"step": 10, "val_accuracy": 0.91}' in error


# How it ends.


def test_a_failure_has_the_exit_code_the_last_lines_and_the_scripts_own_traceback(
    study: Study,
) -> None:
    events = study.run_script("for i in range(90):\n    print('line', i)\n1 / 0\n")
    kind, error = _failure(events)
    assert kind == "ExitCode"
    assert "python train.py ended with exit code 1" in error
    assert "ZeroDivisionError" in error
    assert "line 89\n" in error
    assert "line 20\n" not in error
    frames = [
        line for line in events[-1].payload["traceback"].splitlines() if line[:7] == "  File "
    ]
    assert f"{study.code}/train.py" in frames[-1] or '"train.py"' in frames[-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sh -c 'kill -SEGV $$'", "signal SIGSEGV"),
        ("sh -c 'exit 7'", "exit code 7"),
        ("./missing --lr 1", "cannot run './missing': No such file"),
    ],
)
def test_how_a_command_ended_is_said(study: Study, line: str, words: str) -> None:
    kind, error = _failure(study.run(line))
    assert kind == "ExitCode"
    assert words in error


def test_a_command_that_logs_nothing_is_told_how(study: Study) -> None:
    kind, error = _failure(study.run("echo hello"))
    assert kind == "NothingLogged"
    assert "thermolion.log(step, val_accuracy=" in error
    assert "hello" in error


def test_what_it_prints_is_printed(study: Study, capfd: pytest.CaptureFixture[str]) -> None:
    study.run("sh -c 'echo out; echo err >&2'")
    assert {"out", "err"} <= set(capfd.readouterr().out.splitlines())


def _marked(mark: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "cmdline").read_text().split("\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it has just ended
    return found


# Starts a worker in a session of its own, and one in the background; both outlive their parent.
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
    assert _marked(mark) == []


def test_nothing_outlives_a_lane_that_was_killed(study: Study, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    study.write("train.py", LEAVING + "time.sleep(300)\n")
    pack = study.pack(_trial(f"python train.py {mark}"))
    path = tmp_path / "pack.json"
    path.write_text(json.dumps(pack.to_json()))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.lane", str(path)], stderr=subprocess.DEVNULL
    ) as lane:
        wait_for(lambda: len(_marked(mark)) >= 3)
        lane.kill()
    wait_for(lambda: _marked(mark) == [], 10)


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


def test_a_script_that_keeps_its_state_goes_on_where_it_was_stopped(
    study: Study, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    study.write("train.py", GRACEFUL)
    trial = _trial(f"python train.py {mark}")
    watcher = _stop_once(study, lambda: mark.exists() and (mark.read_text() or "0") > "3")
    first = study.run_trial(trial)
    watcher.join()
    assert first[-1].type == "interrupted"
    study.launch = Launch()
    second = study.run_trial(trial)
    assert second[-1].type == "completed"
    assert min(_curve(second)) == max(_curve(first)) + 1
    assert list(study.layout.folder.rglob("*.state")) == []


def test_a_script_that_knows_nothing_of_stopping_is_interrupted_at_once(
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


def test_a_script_that_will_not_stop_is_killed_after_its_time_of_grace(
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
    trial = _trial("python train.py")
    assert study.run_trial(trial)[-1].type == "failed"
    assert study.run_trial(trial)[-1].type == "completed"


def test_waiting_for_a_command_costs_little(study: Study) -> None:
    study.write("line", '{"step": 1, "val_accuracy": 1}\n{"final": {"test_accuracy": 0.5}}\n')
    seconds = []
    for wait in (0, 0, 2):  # the first pays for imports
        begin = time.thread_time()
        study.run(f"sh -c 'sleep {wait}; cat line >> $THERMOLION_LOG'")
        seconds.append(time.thread_time() - begin)
    assert seconds[2] - seconds[1] < 0.1


def test_the_id_of_a_trial_hangs_on_its_command() -> None:
    assert _trial("a {lr}").id != _trial("b {lr}").id
    assert replace(_trial("a {lr}"), threads=2).id != _trial("a {lr}").id
