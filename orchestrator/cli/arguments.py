"""The options of every verb. Parses them; their meaning is the verbs' own."""

import argparse
import os
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import thermolion
from orchestrator.sweep.messages import parse_duration

_MOST_LANES = 1024
_MOST_TIMES = 64
_MOST_OF_A_CLUSTER = 100_000  # nodes, CPUs, jobs
_LAST_PORT = 65535
_MOST_STEPS = 10**9
_WAIT_S = 600.0  # for the nodes that `doctor` looks at


def make_parser(verbs: Iterable[tuple[str, str]]) -> ArgumentParser:
    """Return the parser for verbs with their purposes; the chosen one is in `verb`."""
    parser = ArgumentParser(
        prog="thermolion",
        description="Which optimizer converges faster, and which ends more accurate? "
        "One sweep file in, one trustworthy answer out.",
    )
    parser.add_argument("--version", action="version", version=thermolion.__version__)
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    options = _list_options()
    for name, purpose in verbs:
        commands.add_parser(name, help=purpose, description=purpose, parents=options[name])
    return parser


def _list_options() -> Mapping[str, Sequence[ArgumentParser]]:
    """Return what every verb takes, in the order of its --help."""
    study = _option("study", metavar="STUDY", help="a sweep file, or the name of a study")
    trial_id = _option("id", metavar="ID", help="the id of a trial, or how it begins")
    root = _option(
        "--root", type=Path, help="where studies live (THERMOLION_ROOT, else ./studies)"
    )
    override = _option(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the sweep, such as seeds=3 or candidates.adamw.lr=1e-4",
    )
    data = _option(
        "--data",
        type=Path,
        metavar="DIR",
        default=_data_root(),
        help="root of the data sets, as torchvision lays them out (THERMOLION_DATA)",
    )
    mlflow = _option(
        "--mlflow", metavar="URI", help="MLflow store (MLFLOW_TRACKING_URI, else the root's)"
    )
    lock = _option(
        "--break-lock", action="store_true", help="take over a lock that nobody holds any more"
    )
    as_json = _option("--json", action="store_true", help="for scripts")
    trial = _option(
        "trial", nargs="?", metavar="TRIAL", help="only this one: its id, or how it begins"
    )
    follow = _option(
        "--follow", action="store_true", help="go on printing until the jobs have ended"
    )
    place, sending, selection = _place_options(), _sending_options(), _selection_options()
    of_a_study = [study, root, override]
    return {
        "plan": [*of_a_study, place, as_json],
        "submit": [*of_a_study, place, data, lock, as_json, sending],
        "run": [*of_a_study, place, data, mlflow, lock, sending],
        "search": [*of_a_study, place, data, mlflow, lock, as_json, sending, _search_options()],
        "status": [*of_a_study, as_json, trial],
        "logs": [*of_a_study, trial, follow],
        "cancel": [*of_a_study, selection],
        "hold": [*of_a_study, selection],
        "release": [*of_a_study, selection],
        "retry": [*of_a_study, place, data, lock, as_json, sending, _retry_options(), selection],
        "rerun": [*of_a_study, place, data, lock, as_json, sending, _rerun_options()],
        "trial": [trial_id, root, override, data, as_json, _foreground_options()],
        "compare": [root, override, as_json, _compare_options()],
        "report": of_a_study,
        "collect": [*of_a_study, mlflow, lock, as_json, _collect_options()],
        "ui": [root, override, mlflow, _ui_options()],
        "export": [*of_a_study, as_json, _export_options()],
        "studies": [root, lock, as_json, _studies_options()],
        "doctor": [_doctor_options()],
        "cluster": [_cluster_options()],
    }


def _option(*names: str, **settings: Any) -> ArgumentParser:
    """Return a parser for one option, which several verbs take."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument(*names, **settings)
    return parser


def _place_options() -> ArgumentParser:
    """Say where trials run, and how many at a time."""
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--backend",
        metavar="NAME",
        help="where the jobs run: local, slurm or ray",
    )
    options.add_argument(
        "--site", metavar="NAME", help="profile of the cluster, by name or path (the sweep's)"
    )
    options.add_argument(
        "--address", metavar="HOST:PORT", help="of a Ray that runs already (the sweep's)"
    )
    options.add_argument(
        "--on", choices=["slurm"], help="with --backend ray: start it within a SLURM job"
    )
    options.add_argument(
        "--lanes",
        type=_whole_number(1, _MOST_LANES),
        metavar="N",
        help="trials at a time (as many as the cores allow)",
    )
    return options


def _sending_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument("--download", action="store_true", help="fetch data sets that are absent")
    options.add_argument(
        "--accept-change",
        action="store_true",
        help="let an edit of the sweep leave results behind: they stay in the logs",
    )
    options.add_argument(
        "--new-code",
        action="store_true",
        help="trials that go on from a checkpoint take your code as it is now",
    )
    return options


def _search_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--candidate", required=True, metavar="NAME", help="for which one settings are looked for"
    )
    options.add_argument(
        "--trials", type=int, metavar="N", help="settings to try (those of `tune:`, else 20)"
    )
    options.add_argument(
        "--search",
        metavar="HOW",
        help="how they are chosen: sobol, optuna or asha (as in `tune:`)",
    )
    return options


def _selection_options() -> ArgumentParser:
    """Select the jobs of some candidates, workloads or trials."""
    options = ArgumentParser(add_help=False)
    for what in ("candidate", "workload"):
        help_ = f"only those of this {what}"
        options.add_argument(f"--{what}", metavar="NAME", action="append", default=[], help=help_)
    options.add_argument(
        "--trial", metavar="ID", action="extend", nargs="+", default=[], help="only these trials"
    )
    return options


def _retry_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--class",
        metavar="CLASS",
        action="append",
        default=[],
        help="only what ended so: OOM, TIMEOUT, NODE_FAIL, LOST …, an exception, or failed, held, "
        "lost, interrupted",
    )
    for option, what in (("--mem", "memory"), ("--time", "time")):
        options.add_argument(
            option, type=_factor, metavar="2x", help=f"so many times the {what} that they had"
        )
    return options


def _rerun_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--code-changed", action="store_true", help="all results that other code has made"
    )
    options.add_argument("--dry-run", action="store_true", help="say which, and do nothing")
    return options


def _foreground_options() -> ArgumentParser:
    """Run a trial in this terminal."""
    options = ArgumentParser(add_help=False)
    options.add_argument("--study", metavar="STUDY", help="look in this study, or sweep file")
    options.add_argument(
        "--here", action="store_true", help="run it in this terminal; nothing is recorded"
    )
    options.add_argument(
        "--pdb", action="store_true", help="with --here: enter the debugger where it raises"
    )
    options.add_argument(
        "--steps",
        type=_whole_number(1, _MOST_STEPS),
        metavar="N",
        help="with --here: end it after step N",
    )
    return options


def _compare_options() -> ArgumentParser:
    """Name what is compared: studies, or runs that this tool did not make."""
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "studies",
        metavar="STUDY",
        nargs="*",
        help="a sweep file, or the name of a study; two of them are compared with each other",
    )
    options.add_argument("--report", type=Path, metavar="DIR", help="write the report page there")
    runs = options.add_argument_group("runs of an MLflow experiment, made by whatever tool")
    for option, words, help_ in (
        ("--mlflow", "URI", "MLflow store (MLFLOW_TRACKING_URI, else the root's)"),
        ("--experiment", "NAME", "the experiment that has the runs"),
        ("--candidate", "FIELD", "what is compared, such as params.optimizer"),
        ("--seed", "FIELD", "what pairs runs, such as params.seed"),
        ("--workload", "FIELD", "what they were trained on, such as params.dataset"),
        ("--metric", "METRIC", "the metric whose curve and last value count"),
        ("--final-metric", "METRIC", "the metric that counts at the end, if it is another one"),
        ("--baseline", "NAME", "the candidate that all others are compared with (every pair)"),
        ("--filter", "TEXT", "only these runs, as MLflow's search puts it: tags.kind = 'final'"),
    ):
        runs.add_argument(option, metavar=words, help=help_)
    runs.add_argument("--goal", choices=("max", "min"), default="max", help="what is better")
    runs.add_argument(
        "--unit", choices=("fraction", "percent", "plain"), default="plain", help="of the metric"
    )
    runs.add_argument("--chance", type=float, metavar="X", help="what a diverged run counts as")
    runs.add_argument("--target", type=float, metavar="X", help="what runs are timed to reach")
    return options


def _collect_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--follow", action="store_true", help="go on until the jobs have ended, as curves grow"
    )
    options.add_argument(
        "--restore",
        action="store_true",
        help="take the experiment out of the trash, if it was deleted in MLflow",
    )
    options.add_argument(
        "--checkpoints",
        action="store_true",
        help="bring kept checkpoints as well (`checkpoint: {keep: last | best}`), as artifacts",
    )
    return options


def _ui_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "study", metavar="STUDY", nargs="?", help="open its page (all studies of the root)"
    )
    options.add_argument(
        "--port",
        type=_whole_number(1024, _LAST_PORT),
        metavar="N",
        help="listen there (a free one)",
    )
    options.add_argument(
        "--no-password", action="store_true", help="let every user of this machine in"
    )
    options.add_argument("--no-browser", action="store_true", help="print the link alone")
    return options


def _export_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument(
        "--format",
        choices=("parquet", "csv", "tensorboard"),
        default="parquet",
        help="tables of trials and curves, or TensorBoard's event files (parquet)",
    )
    options.add_argument(
        "--to", type=Path, metavar="DIR", help="where to (the folder `export` of the study)"
    )
    return options


def _studies_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    one = options.add_mutually_exclusive_group()
    one.add_argument("--archive", metavar="NAME", help="put a study away into one file")
    one.add_argument("--restore", metavar="NAME", help="take it out again")
    one.add_argument("--remove", metavar="NAME", help="delete a study with all its results")
    options.add_argument("--yes", action="store_true", help="yes, delete it")
    return options


def _doctor_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument("--site", metavar="NAME", help="profile of the cluster, by name or path")
    options.add_argument(
        "--root", type=Path, help="where studies live (THERMOLION_ROOT, else ./studies)"
    )
    options.add_argument(
        "--nodes",
        action="store_true",
        help="send a job of two nodes for a minute: files, Python, rendezvous, GPU",
    )
    options.add_argument(
        "--wait",
        type=_seconds,
        default=_WAIT_S,
        metavar="TIME",
        help="how long that job may wait in the queue (10min)",
    )
    options.add_argument(
        "--write-profile", metavar="NAME", help="write a profile of what was found, by that name"
    )
    answers = options.add_mutually_exclusive_group()
    answers.add_argument(
        "--record", type=Path, metavar="DIR", help="leave what the site has answered there as well"
    )
    answers.add_argument(
        "--recorded", type=Path, metavar="DIR", help="answer from what was recorded there"
    )
    options.add_argument("--json", action="store_true", help="for scripts")
    trying = options.add_argument_group("a training that is struck, on `thermolion cluster up`")
    trying.add_argument("study", metavar="SWEEP", nargs="?", help="a copy of it is sent there")
    trying.add_argument(
        "--simulate",
        action="append",
        choices=("preempt", "timeout", "node-fail"),
        help="does it go on? how soon is the node free?",
    )
    trying.add_argument(
        "--data", type=Path, metavar="DIR", default=_data_root(), help="root of the data sets"
    )
    return options


def _cluster_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    options.add_argument("action", choices=("up", "status", "down"))
    options.add_argument("--dir", type=Path, help="its folder (~/.local/state/thermolion/cluster)")
    for option, default, help_ in (
        ("--nodes", 4, "how many nodes"),
        ("--cpus", 2, "CPUs of a node; jobs share the cores that are there"),
        ("--gpus", 2, "fake GPUs of a node"),
        ("--max-array-size", 1001, "MaxArraySize"),
    ):
        options.add_argument(
            option,
            type=_whole_number(0, _MOST_OF_A_CLUSTER),
            default=default,
            metavar="N",
            help=f"{help_} ({default})",
        )
    options.add_argument(
        "--accounting", action="store_true", help="with slurmdbd and MariaDB: sacct, limits"
    )
    options.add_argument(
        "--submit-cap",
        type=_whole_number(0, _MOST_OF_A_CLUSTER),
        metavar="N",
        help="the most jobs that you may have queued, each array task counted (--accounting)",
    )
    return options


def _data_root() -> Path | None:
    data = os.environ.get("THERMOLION_DATA")
    return Path(data) if data else None


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{number} is not between {least} and {most}")
        return number

    parse.__name__ = "whole number"  # as argparse names it if the text is none
    return parse


def _factor(text: str) -> float:
    try:
        factor = float(text.removesuffix("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no factor: write 2x, or 1.5x") from error
    if not 1 <= factor <= _MOST_TIMES:
        raise argparse.ArgumentTypeError(f"{text} is not between 1x and {_MOST_TIMES}x")
    return factor


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
