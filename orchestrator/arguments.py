"""The arguments of every verb. Parses; what they mean is the verbs' business."""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import thermolion
from orchestrator.cluster_options import add_cluster_options
from orchestrator.compare_options import add_compare_options
from orchestrator.doctor_options import add_doctor_options
from orchestrator.ray_options import add_ray_options
from orchestrator.search_options import add_search_options

_MOST_LANES = 1024
_MOST_TIMES = 64
_LAST_PORT = 65535
_SENDING = ("submit", "run", "search", "retry", "rerun")
_COLLECTING = ("run", "search", "collect", "ui")
_LOCKING = (*_SENDING, "collect", "studies")
_WITH_JSON = (
    *("plan", "submit", "search", "retry", "rerun", "status", "compare", "collect"),
    *("export", "trial"),
)
_NOT_OF_A_STUDY = ("trial", "studies", "compare", "ui")  # their first argument is something else


def make_parser(verbs: Iterable[tuple[str, str]]) -> argparse.ArgumentParser:
    """Return the parser for verbs with their purposes; the chosen one is in `verb`."""
    parser = argparse.ArgumentParser(
        prog="thermolion",
        description="Which optimizer converges faster, and which ends more accurate? "
        "One sweep file in, one trustworthy answer out.",
    )
    parser.add_argument("--version", action="version", version=thermolion.__version__)
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, purpose in verbs:
        _add_verb(commands.add_parser(name, help=purpose, description=purpose), name)
    return parser


def _add_verb(parser: argparse.ArgumentParser, name: str) -> None:
    if name not in ("cluster", "doctor"):
        _add_of_a_study(parser, name)
    for add in _OWN.get(name, ()):
        add(parser)


def _add_of_a_study(parser: argparse.ArgumentParser, name: str) -> None:
    if name not in _NOT_OF_A_STUDY:
        parser.add_argument("study", metavar="STUDY", help="a sweep file, or the name of a study")
    if name == "trial":
        parser.add_argument("id", metavar="ID", help="the id of a trial, or how it begins")
    parser.add_argument(
        "--root", type=Path, help="where studies live (THERMOLION_ROOT, else ./studies)"
    )
    if name != "studies":
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a key of the sweep, such as seeds=3 or candidates.adamw.lr=1e-4",
        )
    if name in (*_SENDING, "plan"):
        parser.add_argument(
            "--backend",
            metavar="NAME",
            help="where the jobs run: local, slurm or ray",
        )
        parser.add_argument(
            "--site", metavar="NAME", help="profile of the cluster, by name or path (the sweep's)"
        )
        add_ray_options(parser)
        parser.add_argument(
            "--lanes",
            type=_lanes,
            metavar="N",
            help="trials at a time (as many as the cores allow)",
        )
    if name in (*_SENDING, "trial"):
        data = os.environ.get("THERMOLION_DATA")
        parser.add_argument(
            "--data",
            type=Path,
            metavar="DIR",
            default=Path(data) if data else None,
            help="root of the data sets, as torchvision lays them out (THERMOLION_DATA)",
        )
    if name in _COLLECTING:
        parser.add_argument(
            "--mlflow", metavar="URI", help="MLflow store (MLFLOW_TRACKING_URI, else the root's)"
        )
    if name in _LOCKING:
        parser.add_argument(
            "--break-lock", action="store_true", help="take over a lock that nobody holds any more"
        )
    if name in (*_WITH_JSON, "studies"):
        parser.add_argument("--json", action="store_true", help="for scripts")


def _add_sending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--download", action="store_true", help="fetch data sets that are absent")
    parser.add_argument(
        "--accept-change",
        action="store_true",
        help="let an edit of the sweep leave results behind: they stay in the logs",
    )
    parser.add_argument(
        "--new-code",
        action="store_true",
        help="trials that go on from a checkpoint take your code as it is now",
    )


def _add_trial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trial", nargs="?", metavar="TRIAL", help="only this one: its id, or how it begins"
    )


def _add_follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--follow", action="store_true", help="go on printing until the jobs have ended"
    )


def _add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--follow", action="store_true", help="go on until the jobs have ended, as curves grow"
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="take the experiment out of the trash, if it was deleted in MLflow",
    )
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="bring kept checkpoints as well (`checkpoint: {keep: last | best}`), as artifacts",
    )


def _add_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class",
        metavar="CLASS",
        action="append",
        default=[],
        help="only what ended so: OOM, TIMEOUT, NODE_FAIL, LOST …, an exception, or failed, held, "
        "lost, interrupted",
    )
    for option, what in (("--mem", "memory"), ("--time", "time")):
        parser.add_argument(
            option, type=_factor, metavar="2x", help=f"so many times the {what} that they had"
        )
    _add_selection(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    for option, words, help_ in (
        ("--candidate", "NAME", "those of this candidate"),
        ("--workload", "NAME", "those of this workload"),
    ):
        parser.add_argument(
            option, metavar=words, action="append", default=[], help=f"only {help_}"
        )
    parser.add_argument(
        "--trial", metavar="ID", action="extend", nargs="+", default=[], help="only these trials"
    )


def _add_rerun(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--code-changed", action="store_true", help="all results that other code has made"
    )
    parser.add_argument("--dry-run", action="store_true", help="say which, and do nothing")


def _add_here(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", metavar="STUDY", help="look in this study, or sweep file")
    parser.add_argument(
        "--here", action="store_true", help="run it in this terminal; nothing is recorded"
    )
    parser.add_argument(
        "--pdb", action="store_true", help="with --here: enter the debugger where it raises"
    )
    parser.add_argument(
        "--steps", type=_steps, metavar="N", help="with --here: end it after step N"
    )


def _add_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", metavar="STUDY", nargs="?", help="open its page (all studies of the root)"
    )
    parser.add_argument("--port", type=_port, metavar="N", help="listen there (a free one)")
    parser.add_argument(
        "--no-password", action="store_true", help="let every user of this machine in"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the link alone")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("parquet", "csv", "tensorboard"),
        default="parquet",
        help="tables of trials and curves, or TensorBoard's event files (parquet)",
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="where to (the folder `export` of the study)"
    )


def _add_studies(parser: argparse.ArgumentParser) -> None:
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--archive", metavar="NAME", help="put a study away into one file")
    one.add_argument("--restore", metavar="NAME", help="take it out again")
    one.add_argument("--remove", metavar="NAME", help="delete a study with all its results")
    parser.add_argument("--yes", action="store_true", help="yes, delete it")


_OWN: Mapping[str, Sequence[Callable[[argparse.ArgumentParser], None]]] = {
    "submit": [_add_sending],
    "run": [_add_sending],
    "search": [_add_sending, add_search_options],
    "retry": [_add_sending, _add_retry],
    "rerun": [_add_sending, _add_rerun],
    "status": [_add_trial],
    "logs": [_add_trial, _add_follow],
    "cancel": [_add_selection],
    "hold": [_add_selection],
    "release": [_add_selection],
    "trial": [_add_here],
    "studies": [_add_studies],
    "compare": [add_compare_options],
    "collect": [_add_collect],
    "export": [_add_export],
    "ui": [_add_ui],
    "cluster": [add_cluster_options],
    "doctor": [add_doctor_options],
}


def _lanes(text: str) -> int:
    lanes = int(text)
    if not 1 <= lanes <= _MOST_LANES:
        raise argparse.ArgumentTypeError(f"{lanes} is not between 1 and {_MOST_LANES}")
    return lanes


def _factor(text: str) -> float:
    try:
        factor = float(text.removesuffix("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no factor: write 2x, or 1.5x") from error
    if not 1 <= factor <= _MOST_TIMES:
        raise argparse.ArgumentTypeError(f"{text} is not between 1x and {_MOST_TIMES}x")
    return factor


def _port(text: str) -> int:
    port = int(text)
    if not 1024 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not between 1024 and {_LAST_PORT}")
    return port


def _steps(text: str) -> int:
    steps = int(text)
    if steps < 1:
        raise argparse.ArgumentTypeError(f"{steps} steps: one at least")
    return steps
