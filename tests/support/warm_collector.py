"""An interpreter that has loaded MLflow already and forks a collector whenever it is told to.

What is saved is the seconds of every start; what a collector does is what it always does.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

PRELOADED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "tracking.mlflow_store.collect",
    "tracking.outcomes",
)


class WarmCollector:
    """Collects one study after the other, each time in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, root: Path, study: str, note: str | None = None) -> int:
        """Start to collect a study into the store of its root; return the pid that does."""
        assert self._process.stdin is not None
        said = {"root": str(root), "study": study, "note": note}
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def ended(self) -> int:
        """Wait for the end of the process; return its exit code, as subprocess spells it."""
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def warm_collector() -> Iterator[WarmCollector]:
    """Start the interpreter, and end it."""
    command = [sys.executable, "-P", __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield WarmCollector(process)


def serve() -> None:
    """Fork for every line of the standard input; say the pid, and later the exit code."""
    for name in PRELOADED:
        importlib.import_module(name)
    print("ready", flush=True)  # noqa: T201 - whoever has started us waits for it
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(_collect(**json.loads(line)))
        print(pid, flush=True)  # noqa: T201 - the answer
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer


def _collect(root: str, study: str, note: str | None) -> int:
    from jobs.contract.layout import Layout
    from tracking.mlflow_store.collect import Collector
    from tracking.outcomes import read_outcomes

    try:
        layout = Layout(Path(root), study)
        Collector(layout).collect(list(read_outcomes(layout.events).values()), note=note)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve()
