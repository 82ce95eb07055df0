"""The logging door of a script: what it writes inside of a sweep, and what it does outside."""

import ast
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thermolion
from jobs.user import command


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a sweep would read."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("THERMOLION_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("THERMOLION_")]:
        monkeypatch.delenv(name)


def _lines(log: Path) -> list[command.ReportedMetrics]:
    return [command.parse(line) for line in log.read_bytes().splitlines()]


def test_each_call_is_one_line_that_the_sweep_reads_as_it_was_meant(log: Path) -> None:
    thermolion.log(1, loss=0.1, val_accuracy=0.25)
    thermolion.log(step=2, **{"val/top-1 %": 3})
    thermolion.log_final(test_accuracy=1 / 3)
    assert _lines(log) == [
        command.ReportedMetrics(1, {"loss": 0.1, "val_accuracy": 0.25}),
        command.ReportedMetrics(2, {"val/top-1 %": 3.0}),
        command.ReportedMetrics(None, {"test_accuracy": 1 / 3}),
    ]


@pytest.mark.parametrize(
    "value",
    [2, 2.0, torch.tensor(2), torch.tensor([2.0], requires_grad=True), np.float32(2), np.array(2)],
    ids=lambda value: f"{type(value).__name__}",
)
def test_numbers_of_every_library_are_logged_as_numbers(log: Path, value: Any) -> None:
    thermolion.log(np.int64(5), loss=value)
    assert json.loads(log.read_text()) == {"step": 5, "loss": 2.0}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_json_has_no_number_for_comes_back_as_it_was(log: Path, value: float) -> None:
    thermolion.log(1, loss=value)
    json.loads(log.read_text(), parse_constant=pytest.fail)
    (line,) = _lines(log)
    assert str(line.metrics["loss"]) == str(value)


@pytest.mark.parametrize(
    "value",
    ["0.5", None, [1, 2], torch.zeros(2), np.zeros(2), 1j, 10**400, {"a": 1}, b"1"],
    ids=str,
)
def test_what_is_no_number_is_refused_by_its_name_and_nothing_is_written(
    log: Path, value: Any
) -> None:
    with pytest.raises(TypeError, match=r"metric 'loss' is .*it must be one number"):
        thermolion.log(1, good=1.0, loss=value)
    assert not log.exists()


@pytest.mark.parametrize(
    ("step", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError)]
)
def test_a_step_that_is_none_is_refused(log: Path, step: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        thermolion.log(step, loss=1.0)
    assert not log.exists()


def test_a_call_without_metrics_is_told_how(log: Path) -> None:
    with pytest.raises(ValueError, match=r"thermolion\.log\(step, val_accuracy"):
        thermolion.log(1)
    assert not log.exists()


def _log_often(worker: int) -> None:
    for step in range(300):
        thermolion.log(step, **{f"metric_{worker}_{'x' * 500}": worker})


@pytest.mark.usefixtures("log")
def test_lines_of_many_processes_never_mix(log: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_log_often, range(3), chunksize=1)
    lines = _lines(log)
    assert len(lines) == 900
    for worker in range(3):
        name = f"metric_{worker}_{'x' * 500}"
        assert [line.step for line in lines if name in line.metrics] == list(range(300))


def test_only_the_first_of_several_ranks_is_heard(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    thermolion.log(1, loss=1.0)
    assert not log.exists()
    monkeypatch.setenv("RANK", "0")
    thermolion.log(1, loss=1.0)
    assert len(_lines(log)) == 1


@pytest.mark.usefixtures("alone")
def test_outside_of_a_sweep_a_line_can_be_read_by_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    thermolion.log(3, loss=0.123456789, val_accuracy=1)
    thermolion.log_final(test_accuracy=math.nan)
    assert capsys.readouterr().out == (
        "step 3: loss 0.123457, val_accuracy 1\nfinal: test_accuracy nan\n"
    )


@pytest.mark.usefixtures("alone")
def test_outside_of_a_sweep_nobody_stops_a_script_and_there_is_no_state() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert not thermolion.should_stop()
    assert signal.getsignal(signal.SIGTERM) is before
    assert thermolion.state_dir() is None


def test_a_script_is_told_where_its_state_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THERMOLION_STATE", str(tmp_path))
    assert thermolion.state_dir() == tmp_path


# Says whether it is to stop before and after both the wish and the signal have come.
ASKING = """\
import os, signal, thermolion
before = thermolion.should_stop()
open(os.environ["THERMOLION_STOP"], "w").close()
os.kill(os.getpid(), signal.SIGTERM)
print(before, thermolion.should_stop())
"""


def _run(code: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"THERMOLION_STOP": str(tmp_path / "stop")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_who_asks_whether_to_stop_survives_the_signal_that_says_so(tmp_path: Path) -> None:
    done = _run(ASKING, tmp_path)
    assert (done.returncode, done.stdout) == (0, "False True\n")


def test_who_has_a_handler_of_his_own_keeps_it(tmp_path: Path) -> None:
    mine = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
    assert _run(mine + ASKING, tmp_path).returncode == 9


def test_who_does_not_ask_is_ended_by_the_signal(tmp_path: Path) -> None:
    deaf = ASKING.replace("thermolion.should_stop()", "False")
    assert _run(deaf, tmp_path).returncode == -signal.SIGTERM


def test_the_door_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules)\nimport thermolion.run_log\n"
        "assert callable(thermolion.log)\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"thermolion"}


def test_no_module_of_the_package_takes_the_place_of_what_it_exports() -> None:
    modules = {path.stem for path in Path(thermolion.__file__).parent.glob("*.py")}
    assert not modules & set(thermolion.__all__)
    assert all(getattr(thermolion, name) is not None for name in thermolion.__all__)


@pytest.mark.parametrize("module", ["__init__", "run_log"])
def test_what_a_script_imports_has_no_newer_syntax_than_python_3_7(module: str) -> None:
    source = Path(thermolion.__file__).with_name(f"{module}.py").read_text()
    nodes = list(ast.walk(ast.parse(source, feature_version=(3, 7))))
    written = [node.annotation for node in nodes if isinstance(node, (ast.arg, ast.AnnAssign))]
    written += [node.returns for node in nodes if isinstance(node, ast.FunctionDef)]
    texts = [ast.unparse(node) for node in written if node is not None]
    newer = [text for text in texts if "|" in text or text.startswith(("dict[", "tuple["))]
    assert not newer or "from __future__ import annotations" in source


def _find_pythons() -> list[Path]:
    """Return a Python of each other version that this machine has, from 3.7 on."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.*")
    named = (shutil.which(f"python3.{minor}") for minor in range(7, 15) if minor != 11)
    found = [*(path / "bin" / "python" for path in installed), *(Path(n) for n in named if n)]
    real = {path.resolve() for path in found if "shims" not in path.parts}  # pyenv's own scripts
    return [path for path in sorted(real) if int(path.name.partition(".")[2] or 0) >= 7]


@pytest.mark.skipif(not _find_pythons(), reason="this machine has no other version of Python")
def test_a_script_of_any_other_version_of_python_logs(log: Path) -> None:
    script = (
        "import thermolion\n"
        "thermolion.log(3, loss=0.5)\n"
        "thermolion.log_final(score=float('nan'))\n"
        "assert not thermolion.should_stop() and thermolion.state_dir() is None\n"
    )
    place = {"PYTHONPATH": str(Path(thermolion.__file__).parents[1])}
    for python in _find_pythons():
        log.unlink(missing_ok=True)
        start = [str(python), "-B", "-c", script]
        ended = subprocess.run(start, env=os.environ | place, capture_output=True, text=True)
        assert ended.returncode == 0, (python, ended.stderr)
        assert log.read_text() == '{"step": 3, "loss": 0.5}\n{"final": {"score": "nan"}}\n'
