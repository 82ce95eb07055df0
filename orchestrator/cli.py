"""The command line: parses, calls one verb, turns errors into one line and an exit code."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import thermolion
from jobs.catalog import DataError
from jobs.events import LogError
from jobs.lock import LockHeld
from orchestrator import verbs
from orchestrator.backends.base import BackendError
from orchestrator.conclude import ConclusionError
from orchestrator.sweep_file import SweepError

_VERBS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "plan": (verbs.plan, "say what would run, how long it takes and what it can show"),
    "submit": (verbs.submit, "send what is missing and return"),
    "run": (verbs.run, "submit, watch, compare, report and collect"),
    "status": (verbs.status, "say where every trial stands"),
    "logs": (verbs.logs, "print what the jobs of a study have printed"),
    "cancel": (verbs.cancel, "stop every job of a study cleanly"),
    "compare": (verbs.compare, "answer the questions of the sweep"),
    "report": (verbs.report, "write the report page"),
    "collect": (verbs.collect, "bring the logs into MLflow"),
}
_MOST_LANES = 1024
_SENDING = ("submit", "run")
_COLLECTING = ("run", "collect")
_WITH_JSON = ("plan", "submit", "status", "compare", "collect")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    verb, _ = _VERBS[chosen.verb]
    try:
        return verb(chosen)
    except (SweepError, DataError) as error:
        sys.stderr.write(f"thermolion: {error}\n")
        return verbs.WRONG_INPUT
    except BrokenPipeError:
        # The reader of our output has left (`| head`): leave quietly, and keep Python from
        # complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return verbs.FAILED
    except (BackendError, ConclusionError, LogError, LockHeld, OSError) as error:
        sys.stderr.write(f"thermolion: {error}\n")
        return verbs.FAILED
    except KeyboardInterrupt:
        return verbs.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thermolion",
        description="Which optimizer converges faster, and which ends more accurate? "
        "One sweep file in, one trustworthy answer out.",
    )
    parser.add_argument("--version", action="version", version=thermolion.__version__)
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, purpose) in _VERBS.items():
        _add_verb(commands.add_parser(name, help=purpose, description=purpose), name)
    return parser


def _add_verb(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("study", metavar="STUDY", help="a sweep file, or the name of a study")
    parser.add_argument(
        "--root", type=Path, help="where studies live (THERMOLION_ROOT, else ./studies)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the sweep, such as seeds=3 or candidates.adamw.lr=1e-4",
    )
    if name == "logs":
        parser.add_argument("trial", nargs="?", metavar="TRIAL", help="only this trial's job")
    if name in (*_SENDING, "plan"):
        parser.add_argument(
            "--lanes",
            type=_lanes,
            metavar="N",
            help="trials at a time (as many as the cores allow)",
        )
    if name in _SENDING:
        data = os.environ.get("THERMOLION_DATA")
        parser.add_argument(
            "--data",
            type=Path,
            metavar="DIR",
            default=Path(data) if data else None,
            help="root of the data sets, as torchvision lays them out (THERMOLION_DATA)",
        )
        parser.add_argument(
            "--download", action="store_true", help="fetch data sets that are absent"
        )
    if name in _COLLECTING:
        parser.add_argument(
            "--mlflow", metavar="URI", help="MLflow store (MLFLOW_TRACKING_URI, else the root's)"
        )
    if name in (*_SENDING, "collect"):
        parser.add_argument(
            "--break-lock", action="store_true", help="take over a lock that nobody holds any more"
        )
    if name in _WITH_JSON:
        parser.add_argument("--json", action="store_true", help="for scripts")


def _lanes(text: str) -> int:
    lanes = int(text)
    if not 1 <= lanes <= _MOST_LANES:
        raise argparse.ArgumentTypeError(f"{lanes} is not between 1 and {_MOST_LANES}")
    return lanes


if __name__ == "__main__":
    sys.exit(main())
