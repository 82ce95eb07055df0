"""The command line: parses, calls one verb, turns errors into one line and an exit code."""

import argparse
import importlib
import io
import logging
import os
import sys

from orchestrator.cli.arguments import make_parser
from orchestrator.cli.terminal import Exit
from thermolion.errors import InputError, OperationError

# By verb: the module below `orchestrator.cli` that has the function of its name, and what for.
_VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "write a commented sweep file to start from"),
    "plan": ("status", "say what would run, how long it takes and what it can show"),
    "submit": ("submit", "send what is missing and return"),
    "run": ("submit", "submit, watch, compare, report and collect"),
    "search": ("search", "look for the settings of one candidate, without a comparison"),
    "status": ("status", "say where every trial stands"),
    "logs": ("status", "print what the jobs of a study have printed"),
    "cancel": ("control", "stop the jobs of a study cleanly, all or some"),
    "hold": ("control", "keep jobs that have not started from starting"),
    "release": ("control", "let held jobs start"),
    "retry": ("submit", "send what has failed again"),
    "rerun": ("submit", "take back the results that other code has made, and run them again"),
    "trial": ("trial", "print all that is known of a trial, or run it in this terminal"),
    "compare": (
        "results",
        "compare the candidates of a sweep, two studies, or any MLflow experiment",
    ),
    "report": ("results", "write the report page"),
    "collect": ("results", "bring the logs into MLflow"),
    "ui": ("ui", "show a study in MLflow, in a browser"),
    "export": ("results", "write trials and curves as Parquet or CSV, or for TensorBoard"),
    "studies": ("studies", "list the studies of a root; archive, restore or remove one"),
    "doctor": ("doctor", "say what will and will not work on a cluster, and the next step"),
    "cluster": ("cluster", "bring up a real SLURM on this machine, to try sweeps on"),
}


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    return make_parser((verb, purpose) for verb, (_, purpose) in _VERBS.items())


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C."""
    chosen = command_line().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal need not have every sign
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    module, _ = _VERBS[chosen.verb]
    try:
        verb = getattr(importlib.import_module(f"orchestrator.cli.{module}"), chosen.verb)
        code: int = verb(chosen)
        return code
    except InputError as error:
        sys.stderr.write(f"thermolion: {error}\n")
        return Exit.WRONG_INPUT
    except BrokenPipeError:
        # The reader of our output has left (`| head`): leave quietly, and keep Python from
        # complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except (OperationError, OSError) as error:
        sys.stderr.write(f"thermolion: {error}\n")
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
