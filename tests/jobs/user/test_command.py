"""A user's training as a command, run by a lane: what it is given, what it logs, how it ends."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import Study, curve, failure, made
from processes import wait_for

from jobs.contract import oom_kills
from jobs.contract.failures import classify_exception
from jobs.contract.trial import Trial
from jobs.ranks.launch import Launch

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
    trial = made(f"python train.py {tmp_path}/facts {{lr}} {{data}}", threads=2)
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


# What torchrun, Open MPI, PMI, SLURM and LSF leave behind, and what their users set themselves.
LEFT = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "nowhere",
    "TORCHELASTIC_RUN_ID": "1",
    "OMPI_COMM_WORLD_RANK": "1",
    "PMI_RANK": "1",
    "SLURM_PROCID": "1",
    "JSM_NAMESPACE_RANK": "1",
}
SET = {"OMPI_MCA_btl": "tcp", "SLURM_CONF": "/etc/slurm.conf", "SLURM_JWT": "secret"}


def test_a_script_takes_itself_for_no_rank_of_what_was_started_in_that_shell(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (LEFT | SET).items():
        monkeypatch.setenv(name, value)
    events = study.run_script(
        f"import os, thermolion\nassert not {set(LEFT)} & set(os.environ)\n"
        f"assert {set(SET)} <= set(os.environ)\n"
        "thermolion.log(1, val_accuracy=0.5)\nthermolion.log_final(test_accuracy=0.5)\n"
    )
    assert events[-1].type == "completed"


def test_a_script_imports_its_own_packages_that_are_called_like_ours(study: Study) -> None:
    for name in ("jobs", "tracking", "slurm", "orchestrator"):
        study.write(f"{name}/__init__.py", f"WHOSE = 'theirs: {name}'\n")
    events = study.run_script(
        "import jobs, orchestrator, slurm, tracking, thermolion\n"
        "assert {m.WHOSE[:6] for m in (jobs, orchestrator, slurm, tracking)} == {'theirs'}\n"
        "thermolion.log(1, val_accuracy=0.5)\nthermolion.log_final(test_accuracy=0.5)\n"
    )
    assert events[-1].type == "completed"


# What it logs.


def test_logged_metrics_are_the_curve_and_final_ones_the_result(
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


def test_a_metric_is_logged_while_the_command_runs(study: Study, tmp_path: Path) -> None:
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


def test_a_last_line_without_a_line_end_counts_if_the_command_succeeded(study: Study) -> None:
    study.write("lines", '{"step": 1.0, "val_accuracy": 1}\n\n{"final": {"test_accuracy": 0.5}}')
    events = study.run("sh -c 'cat lines >> $THERMOLION_LOG'")
    assert curve(events) == {1: {"val_accuracy": 1.0}}
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
def test_a_line_that_cannot_be_read_fails_the_trial_and_is_shown(
    study: Study, line: str, why: str
) -> None:
    study.write("lines", f"{line}\n")
    kind, error = failure(study.run("sh -c 'cat lines >> $THERMOLION_LOG; sleep 60'"))
    assert kind == "BadLine"
    assert why in error
    assert '{"step": 10, "val_accuracy": 0.91}' in error


# How it ends.


def test_a_failure_has_the_exit_code_the_last_lines_and_the_scripts_own_traceback(
    study: Study,
) -> None:
    events = study.run_script("for i in range(90):\n    print('line', i)\n1 / 0\n")
    kind, error = failure(events)
    assert kind == "ExitCode"
    assert "python train.py ended with exit code 1" in error
    assert "ZeroDivisionError" in error
    assert "line 89\n" in error
    assert "line 20\n" not in error
    frames = [line for line in error.splitlines() if line[:7] == "  File "]
    assert f"{study.code}/train.py" in frames[-1] or '"train.py"' in frames[-1]


def test_a_progress_bar_is_printed_as_it_moves_and_does_not_hide_the_failure(
    study: Study, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def heard(_step: int, _metrics: object) -> None:
        wait_for(lambda: "batch  99999" in capfd.readouterr().out)  # its line has not ended
        (tmp_path / "seen").touch()

    study.launch = Launch(on_log=heard)
    events = study.run_script(
        "import os, sys, time, thermolion\n"
        "for i in range(100_000): print(f'\\rbatch {i:6}', end='', file=sys.stderr)\n"
        "sys.stderr.flush()\n"
        "thermolion.log(1, val_accuracy=0.5)\n"
        f"while not os.path.exists('{tmp_path}/seen'): time.sleep(0.01)\n"
        "print('\\rdone\\nloss \u03bb ' + 'x' * 10**6)\n"
        "print('\\rbatch 1', '\\rbatch 2', end='\\r\\n')\n"
        "1 / 0\n"
    )
    _, error = failure(events)
    assert len(error) < 20_000
    assert error.endswith("ZeroDivisionError: division by zero\n")
    assert "\nbatch 2\n" in error
    assert "batch 1" not in error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sh -c 'kill -SEGV $$'", "signal SIGSEGV"),
        ("sh -c 'exit 7'", "exit code 7"),
        ("./missing --lr 1", "cannot run './missing': No such file"),
    ],
)
def test_a_failure_names_the_exit_code_or_the_signal(study: Study, line: str, words: str) -> None:
    kind, error = failure(study.run(line))
    assert kind == "ExitCode"
    assert words in error


@pytest.mark.parametrize("end", ["kill -KILL $$", "exit 137"])
def test_a_command_that_the_kernel_has_killed_for_its_memory_ran_out_of_it(
    study: Study, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    vmstat = study.code / "vmstat"
    vmstat.write_text("oom_kill 3\n")
    monkeypatch.setattr(oom_kills, "VMSTAT", vmstat)
    assert classify_exception(*failure(study.run(f"sh -c '{end}'"))) == "LOST"
    counts = f"echo oom_kill 4 > {vmstat}"
    assert classify_exception(*failure(study.run(f"sh -c '{counts}; {end}'"))) == "OOM_HOST"


def test_a_command_that_logs_nothing_fails_with_how_to_log(study: Study) -> None:
    kind, error = failure(study.run("echo hello"))
    assert kind == "NothingLogged"
    assert "thermolion.log(step, val_accuracy=" in error
    assert "hello" in error


def test_the_output_of_a_command_is_printed(
    study: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    study.run("sh -c 'echo out; echo err >&2'")
    assert {"out", "err"} <= set(capfd.readouterr().out.splitlines())
