"""A user's own training as a command: its metrics are read from a file, its end is judged.

The protocol is that of docs/bring-your-own-training.md; the command itself runs below
`jobs.user.supervisor`, and its placeholders are filled by `jobs.contract.command_template`.
"""

import codecs
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract import command_template
from jobs.contract.events import NOT_FINITE
from jobs.contract.oom_kills import count_oom_kills
from jobs.contract.trial import Trial
from jobs.ranks.group import GroupBroken
from jobs.user import supervisor
from jobs.user.results import private_store
from jobs.user.results.merger import ResultsError
from jobs.user.results.reader import ResultReader
from jobs.worker.context import Context
from thermolion import run_log
from thermolion.errors import OperationError

GRACE_S = 30.0  # from the wish that a command should end to its being killed
_LOOK_EVERY_S = 0.05
_SETTLE_S = 0.5  # between a signal to the command and the same one to us
# Of the output, for the message of a failure. A progress bar is one line without an end.
_LAST_LINES, _LAST_BYTES, _LINE_LENGTH = 40, 2**14, 400
_SHOWN = 200  # characters of a line that cannot be read


@dataclass(frozen=True)
class ReportedMetrics:
    """One line of the log: metrics at a `step`, or final ones, if that is None."""

    step: int | None
    metrics: Mapping[str, float]


class CommandError(OperationError):
    """A command that failed; `kind` is how (`ExitCode`, `BadLine`, `NothingLogged`)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def parse(raw: bytes) -> ReportedMetrics:
    """Read one line of the log.

    Raises CommandError for one that does not follow the protocol, with examples that do.
    """
    try:
        record = json.loads(raw)
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        if "final" in record:
            return ReportedMetrics(None, _metrics(record["final"]))
        return ReportedMetrics(_step(record.pop("step")), _metrics(record))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CommandError(
            "BadLine",
            f"$THERMOLION_LOG has a line that cannot be read ({why}): "
            f"{raw.decode(errors='replace')[:_SHOWN]!r}; write "
            '{"step": 10, "val_accuracy": 0.91} or {"final": {"test_accuracy": 0.93}}, one a line',
        ) from error


def _step(value: Any) -> int:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
    if not whole or value < 0:
        raise ValueError(f"step is {value!r}, it must be a whole number, 0 or more")
    return int(value)


def _metrics(record: Any) -> dict[str, float]:
    if not isinstance(record, dict):
        raise ValueError(f"{record!r} has no names of metrics")
    metrics = {name: _number(name, value) for name, value in record.items()}
    if not metrics:
        raise ValueError("it has no metric")
    return metrics


def _number(name: str, value: Any) -> float:
    number = NOT_FINITE.get(value.lower()) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"{name} is {value!r}, it must be a number")
    return float(number)


class Command:
    """A command that runs, and the folder of the files that it and we write for each other.

    `unended` is what it has logged after the last line end. `on_output` is given what it prints,
    by a thread.
    """

    def __init__(
        self,
        words: list[str],
        cwd: Path,
        environment: dict[str, str],
        folder: Path,
        on_output: Callable[[bytes], None],
    ) -> None:
        self._folder, self._on_output = folder, on_output
        self._log = (folder / "log.jsonl").open("xb+", buffering=0)
        self.unended = b""
        self._last_output = b""
        self._ended = threading.Event()
        self._oom_kills = count_oom_kills()
        starter = [sys.executable, "-I", "-S", supervisor.__file__, f"{GRACE_S}"]
        self._process = subprocess.Popen(
            [*starter, str(folder / "code"), *words],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(target=self._repeat_output, daemon=True)
        self._reader.start()

    def has_run_out_of_memory(self, code: int) -> bool:
        """Return True if the kernel has killed something for its memory, and this was killed."""
        return code in (-signal.SIGKILL, 137) and count_oom_kills() > self._oom_kills

    def wait(self, wait_s: float) -> bool:
        """Wait for its end, at most `wait_s`; return True if all of its processes have ended."""
        return self._ended.wait(wait_s) or self._process.poll() is not None

    def new_lines(self) -> Iterator[bytes]:
        """Yield the complete lines that it has logged since the last call."""
        while data := self._log.read(1 << 20):
            *lines, self.unended = (self.unended + data).split(b"\n")
            yield from lines

    def ask_to_stop(self) -> None:
        """Ask it to end; it is killed if it has not ended after `GRACE_S`."""
        (self._folder / "stop").touch()
        with contextlib.suppress(BrokenPipeError):  # it has just ended
            self._stdin.write(b"stop\n")

    def return_code(self) -> int | None:
        """Return its return code after its end; None if its supervisor was killed."""
        self._reader.join(_SETTLE_S)
        try:
            return int((self._folder / "code").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def suggest_results(self) -> str:
        """Return what `results` of the sweep might be, for a command that has logged nothing."""
        if private_store.is_used(self._folder):
            return "`results: mlflow`, to which it has logged"
        return "`results: {lines: 'PATTERN'}` or `results: {file: results.csv}`"

    def last_output(self) -> str:
        """Return the last lines that it has printed, as a terminal would show them."""
        lines = self._last_output.decode(errors="replace").replace("\r\n", "\n").split("\n")
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
        last = "\n".join(line[:_LINE_LENGTH] for line in shown[-_LAST_LINES - 1 :]).rstrip("\n")
        return f"{last or '(it has printed nothing)'}\n"

    def close(self) -> None:
        """Kill it with all that it has started, unless it has ended, and close its files."""
        self._stdin.close()
        self._log.close()
        self._process.wait()
        self._reader.join(_SETTLE_S)
        if not self._reader.is_alive():
            self._stdout.close()

    def _repeat_output(self) -> None:
        """Print what the command prints, as it comes, and keep the end of it."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while printed := self._stdout.read(_LAST_BYTES):
            self._last_output = (self._last_output + printed)[-_LAST_BYTES:]
            self._on_output(printed)
            sys.stdout.write(decoder.decode(printed))
            sys.stdout.flush()
        self._process.wait()
        self._ended.set()


def run_command(trial: Trial, context: Context) -> Mapping[str, float] | None:
    """Run the command of a trial to its end; return its final metrics, None if it gave none.

    Raises CommandError if it fails, logs a line that cannot be read, or logs nothing; and whatever
    `context.log` raises. No process of it is left in any case. Every rank runs the command.
    """
    assert trial.workload.command is not None
    state = context.state_folder
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="thermolion-") as name:
        folder = Path(name).resolve()
        (folder / "trial.json").write_text(json.dumps(trial.to_json(), indent=2))
        values = command_template.resolve_placeholders(
            trial, str(context.device), context.data_root, state, folder / "trial.json"
        )
        words = command_template.render(trial.workload.command, values)
        reader = ResultReader(context, context.code_root or Path.cwd())
        if reader.prepare(values):
            with contextlib.suppress(OSError):
                state.rmdir()
            return _finish(reader, " ".join(words), again=True)
        environment = _environment(values, trial.threads, folder)
        environment |= context.group.environment()
        for variable, value in reader.environment().items():
            environment.pop(variable, None)
            environment |= {} if value is None else {variable: value}
        command = Command(words, reader.folder, environment, folder, reader.take_output)
        try:
            _forward_metrics(command, context, reader)
            if context.group.is_broken and context.stopping.rung is None:
                raise GroupBroken("another rank has left the trial")
            return _judge_end(command, words, context, reader)
        finally:
            command.close()
            reader.close()
            with contextlib.suppress(OSError):  # it has files: the next attempt may want them
                state.rmdir()


def _environment(values: Mapping[str, Any], threads: int, folder: Path) -> dict[str, str]:
    """Return the variables of a command whose placeholders have `values`."""
    environment = {
        **os.environ,
        "PATH": command_template.search_path(),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": _copy_package(folder / "packages"),
        "THERMOLION_DEVICE": str(values["device"]),
        "THERMOLION_LOG": str(folder / "log.jsonl"),
        "THERMOLION_SEED": str(values["seed"]),
        "THERMOLION_STATE": str(values["state"]),
        "THERMOLION_STOP": str(folder / "stop"),
        "THERMOLION_TRIAL": str(values["trial_file"]),
    }
    environment.pop("PYTHONSAFEPATH", None)  # a script must find the modules beside it
    # Two trials that make one store in the folder of the code would end each other.
    environment.setdefault("MLFLOW_TRACKING_URI", private_store.address(folder))
    return environment


def _copy_package(folder: Path) -> str:
    """Copy the package `thermolion` into a folder; return a PYTHONPATH that ends in this folder.

    The command's Python may be any: without the package, or with another version of it, or in a
    container that sees this folder and not ours.
    """
    home = Path(run_log.__file__).parent
    shutil.copytree(home, folder / home.name)
    theirs = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*([theirs] if theirs else []), str(folder)])


def _forward_metrics(command: Command, context: Context, reader: ResultReader) -> None:
    """Log what a command logs, and what is read of it, until it ends."""
    ended = asked = False
    while not ended:
        ended = command.wait(_LOOK_EVERY_S)
        for raw in command.new_lines():
            _log_line(raw, reader)
        reader.poll(now=ended)
        if not ended and not asked and (context.group.is_broken or context.has_to_stop()):
            command.ask_to_stop()
            asked = True


def _judge_end(
    command: Command, words: list[str], context: Context, reader: ResultReader
) -> Mapping[str, float] | None:
    """Return the final metrics of a command that has ended; raises CommandError if it failed."""
    code = command.return_code()
    if context.stopping.is_early or (code != 0 and _stops_soon(context, code)):
        return None  # its last line may have been torn when it was killed
    line = " ".join(words)
    if code is None:
        raise CommandError("ExitCode", f"the process that ran {line} was killed from outside")
    if code != 0:
        how = _describe_exit(code)
        if command.has_run_out_of_memory(code):
            how += " (oom-kill: the kernel had no memory left)"
        raise CommandError("ExitCode", f"{line} {how}; its last lines:\n{command.last_output()}")
    _log_line(command.unended, reader)
    if context.rank != 0:  # the others need not log
        return None
    final = _finish(reader, line)
    if not reader.has_read:
        metric = context.trial.workload.metric_spec.metric
        raise CommandError(
            "NothingLogged",
            f"{line} ended well and logged nothing: call thermolion.log(step, {metric}=...), or "
            f'append {{"step": 1, "{metric}": 0.5}} to $THERMOLION_LOG, or say in the sweep where '
            f"it writes them, such as {command.suggest_results()}; "
            f"its last lines:\n{command.last_output()}",
        )
    return final


def _finish(reader: ResultReader, line: str, again: bool = False) -> Mapping[str, float] | None:
    """Return the final metrics of a command that has ended well; raises CommandError for none."""
    try:
        return (reader.read_again() if again else reader.finish()) or None
    except ResultsError as error:
        way_out = "correct `results` in the sweep"
        if reader.keep():
            way_out += ", and `thermolion retry` reads what is kept, without training"
        raise CommandError(
            error.kind,
            f"{line} ended well, and its results cannot be read: {error} ({way_out})",
        ) from error


def _stops_soon(context: Context, code: int | None) -> bool:
    """Return True if all ranks are to stop, for which the signal to us may come a bit later."""
    if code is not None and (code >= 0 or -code not in (signal.SIGTERM, signal.SIGINT)):
        return context.has_to_stop()
    end = time.monotonic() + _SETTLE_S
    while not context.has_to_stop() and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
    return context.has_to_stop()


def _describe_exit(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _log_line(raw: bytes, reader: ResultReader) -> None:
    """Hand the metrics of one line of the log over, unless it is empty."""
    if raw.strip():
        line = parse(raw)
        reader.take_log(line.step, line.metrics)
