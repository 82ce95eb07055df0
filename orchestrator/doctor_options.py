"""The options of the verb `doctor`. Parses; what they mean is the verb's business."""

import argparse
import os
from pathlib import Path

from orchestrator.durations import seconds

_WAIT_S = 600.0


def add_doctor_options(parser: argparse.ArgumentParser) -> None:
    """Add the site, what is looked at, and what is written."""
    parser.add_argument("--site", metavar="NAME", help="profile of the cluster, by name or path")
    parser.add_argument(
        "--root", type=Path, help="where studies live (THERMOLION_ROOT, else ./studies)"
    )
    parser.add_argument(
        "--nodes",
        action="store_true",
        help="send a job of two nodes for a minute: files, Python, rendezvous, GPU",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=_WAIT_S,
        metavar="TIME",
        help="how long that job may wait in the queue (10min)",
    )
    parser.add_argument(
        "--write-profile", metavar="NAME", help="write a profile of what was found, by that name"
    )
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument(
        "--record", type=Path, metavar="DIR", help="leave what the site has answered there as well"
    )
    answers.add_argument(
        "--recorded", type=Path, metavar="DIR", help="answer from what was recorded there"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    trying = parser.add_argument_group("a training that is struck, on `thermolion cluster up`")
    trying.add_argument("study", metavar="SWEEP", nargs="?", help="a copy of it is sent there")
    trying.add_argument(
        "--simulate",
        action="append",
        choices=("preempt", "timeout", "node-fail"),
        help="does it go on? how soon is the node free?",
    )
    trying.add_argument(
        "--data", type=Path, metavar="DIR", default=_data(), help="root of the data sets"
    )


def _data() -> Path | None:
    data = os.environ.get("THERMOLION_DATA")
    return Path(data) if data else None


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
