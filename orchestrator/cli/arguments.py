"""The options of every verb. Parses them; their meaning is the verbs' own."""

import argparse
import os
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import thermolion
from orchestrator.sweep.messages import parse_duration
from orchestrator.sweep.starters.starter import KINDS

_MOST_LANES = 1024
_LEAST_EFFECT, _MOST_EFFECT = 0.01, 100
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
    study = _option("study", "STUDY", "a sweep file, or the name of a study")
    trial_id = _option("id", "ID", "the id of a trial, or how it begins")
    root_folder = "where studies live (THERMOLION_ROOT, else ./studies)"
    root = _option("--root", "ROOT", root_folder, type=Path)
    key = "override a key of the sweep, such as seeds=3 or candidates.adamw.lr=1e-4"
    override = _option("--set", "KEY=VALUE", key, action="append", default=[])
    data_folder = "root of the data sets, as torchvision lays them out (THERMOLION_DATA)"
    data = _option("--data", "DIR", data_folder, type=Path, default=_data_root())
    mlflow = _option("--mlflow", "URI", "MLflow store (MLFLOW_TRACKING_URI, else the root's)")
    lock = _flag(
        "--break-lock",
        "take over a lock, and trials of another machine, that are known to be gone",
    )
    as_json = _flag("--json", "for scripts")
    hours = _flag("--hours", "what it has taken of CPUs and GPUs, wasted, and may still take")
    trial = _option("trial", "TRIAL", "only this one: its id, or how it begins", nargs="?")
    follow = _flag("--follow", "go on printing until the jobs have ended")
    site = _option("--site", "NAME", "profile of the cluster, by name or path")
    sd = "say the power for a true difference of so many sd of the paired differences (1)"
    effect = _option("--effect", "SD", sd, type=_sd, default=1.0)
    place, sending, selection = _place_options(), _sending_options(), _selection_options()
    of_a_study = [study, root, override]
    again = "ask its questions again on fresh seeds, in a study of this name that pools nothing"
    confirm = _option("--confirm", "NEW_STUDY", again)
    to_send = [*of_a_study, *place, data, lock, as_json, *sending]
    return {
        "init": _init_options(),
        "plan": [*of_a_study, *place, confirm, effect, as_json],
        "submit": [*to_send, confirm],
        "run": [*of_a_study, *place, data, mlflow, lock, *sending, confirm],
        "search": [*of_a_study, *place, data, mlflow, lock, as_json, *sending, *_search_options()],
        "status": [*of_a_study, as_json, trial, hours],
        "logs": [*of_a_study, trial, follow],
        "cancel": [*of_a_study, *selection],
        "hold": [*of_a_study, *selection],
        "release": [*of_a_study, *selection],
        "retry": [*to_send, *_retry_options(), *selection],
        "rerun": [*to_send, *_rerun_options()],
        "trial": [trial_id, root, override, data, as_json, *_foreground_options()],
        "compare": [root, override, as_json, *_compare_options()],
        "report": of_a_study,
        "collect": [*of_a_study, mlflow, lock, as_json, *_collect_options()],
        "ui": [root, override, mlflow, *_ui_options()],
        "export": [*of_a_study, as_json, *_export_options()],
        "studies": [root, lock, as_json, _studies_options()],
        "doctor": [site, root, *_doctor_options(), as_json, _simulate_options()],
        "cluster": _cluster_options(),
    }


def _option(
    name: str, metavar: str | None, purpose: str | None, **settings: Any
) -> ArgumentParser:
    """Return a parser for one option, to be a parent of the verbs that take it."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument(name, metavar=metavar, help=purpose, **settings)
    return parser


def _flag(name: str, purpose: str) -> ArgumentParser:
    """Return a parser for one option without a value."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument(name, action="store_true", help=purpose)
    return parser


def _init_options() -> list[ArgumentParser]:
    kinds = "images (what this tool trains), a function of yours, or a command of yours"
    what = "the function (train:train), the script (train.py) or the whole command"
    return [
        _option("kind", "KIND", kinds, nargs="?", choices=KINDS, default=KINDS[0]),
        _option("what", "WHAT", what, nargs="?"),
        _option("--to", "FILE", "the file (sweep.yaml)", type=Path, default=Path("sweep.yaml")),
    ]


def _place_options() -> list[ArgumentParser]:
    """Say where trials run, and how many at a time."""
    lanes = "trials at a time (as many as the cores allow)"
    return [
        _option("--backend", "NAME", "where the jobs run: local, slurm or ray"),
        _option("--site", "NAME", "profile of the cluster, by name or path (the sweep's)"),
        _option("--address", "HOST:PORT", "of a Ray that runs already (the sweep's)"),
        _option(
            "--on", None, "with --backend ray: start it within a SLURM job", choices=["slurm"]
        ),
        _option("--lanes", "N", lanes, type=_whole_number(1, _MOST_LANES)),
    ]


def _sending_options() -> list[ArgumentParser]:
    change = "let an edit of the sweep leave results behind: they stay in the logs"
    return [
        _flag("--download", "fetch data sets that are absent"),
        _flag("--accept-change", change),
        _flag("--new-code", "trials that go on from a checkpoint take your code as it is now"),
    ]


def _search_options() -> list[ArgumentParser]:
    return [
        _option("--candidate", "NAME", "for which one settings are looked for", required=True),
        _option("--trials", "N", "settings to try (those of `tune:`, else 20)", type=int),
        _option("--search", "HOW", "how they are chosen: sobol, optuna or asha (as in `tune:`)"),
    ]


def _selection_options() -> list[ArgumentParser]:
    """Select the jobs of some candidates, workloads or trials."""
    named: dict[str, Any] = {"action": "append", "default": []}
    return [
        _option("--candidate", "NAME", "only those of this candidate", **named),
        _option("--workload", "NAME", "only those of this workload", **named),
        _option("--trial", "ID", "only these trials", action="extend", nargs="+", default=[]),
    ]


def _retry_options() -> list[ArgumentParser]:
    factor: dict[str, Any] = {"type": _factor, "default": 1.0}
    classes = (
        "only what ended so: OOM, TIMEOUT, NODE_FAIL, LOST …, an exception, or failed, held, "
        "lost, interrupted"
    )
    return [
        _option("--class", "CLASS", classes, action="append", default=[]),
        _option("--mem", "2x", "so many times the memory that they had", **factor),
        _option("--time", "2x", "so many times the time that they had", **factor),
    ]


def _rerun_options() -> list[ArgumentParser]:
    return [
        _flag("--code-changed", "all results that other code has made"),
        _flag("--dry-run", "say which, and do nothing"),
    ]


def _foreground_options() -> list[ArgumentParser]:
    """Run a trial in this terminal."""
    step = _whole_number(1, _MOST_STEPS)
    return [
        _option("--study", "STUDY", "look in this study, or sweep file"),
        _flag("--here", "run it in this terminal; nothing is recorded"),
        _flag("--pdb", "with --here: enter the debugger where it raises"),
        _option("--steps", "N", "with --here: end it after step N", type=step),
    ]


def _compare_options() -> list[ArgumentParser]:
    """Name what is compared: studies, or runs that this tool did not make."""
    studies = "a sweep file, or the name of a study; two of them are compared with each other"
    foreign = ArgumentParser(add_help=False)
    runs = foreign.add_argument_group("runs that other tools have logged: in one of three places")
    runs.add_argument(
        "--csv",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="CSV or Parquet: a row a run or a point",
    )
    runs.add_argument(
        "--tensorboard", metavar="DIR", type=Path, help="folders of TensorBoard's event files"
    )
    for option, metavar, purpose in (
        ("--mlflow", "URI", "MLflow store (MLFLOW_TRACKING_URI, else the root's)"),
        ("--experiment", "NAME", "of MLflow: the experiment that has the runs"),
        ("--step", "COLUMN", "of --csv: a row is a point of a curve, at this step"),
        ("--run", "COLUMN", "of --csv: what tells runs apart (the fields below)"),
        ("--path", "PATTERN", "fields in the paths of runs: '{optimizer}/seed{seed}'"),
        ("--candidate", "FIELDS", "what is compared, such as params.optimizer,params.lr"),
        ("--seed", "FIELD", "what pairs runs, such as params.seed"),
        ("--workload", "FIELD", "what they were trained on, such as params.dataset"),
        ("--filter", "TEXT", "only these runs: tags.kind = 'final' and params.lr != '1'"),
    ):
        runs.add_argument(option, metavar=metavar, help=purpose)
    asked = foreign.add_argument_group(
        "what is asked, of such runs or, for exploration, of studies in place of what they declare"
    )
    for option, purpose in (
        ("--metric", "the metric whose curve and last value count"),
        ("--final-metric", "the metric that counts at the end, if it is another one"),
    ):
        asked.add_argument(option, metavar="METRIC", help=purpose)
    baseline = "the candidate that all others are compared with (every pair)"
    asked.add_argument("--baseline", metavar="NAME", help=baseline)
    asked.add_argument("--goal", choices=("max", "min"), help="what is better (max)")
    units = ("fraction", "percent", "plain")
    asked.add_argument("--unit", choices=units, help="of the metric (plain)")
    asked.add_argument("--chance", type=float, metavar="X", help="what a diverged run counts as")
    asked.add_argument("--target", type=float, metavar="X", help="what runs are timed to reach")
    return [
        _option("studies", "STUDY", studies, nargs="*"),
        _option("--report", "DIR", "write the report page there", type=Path),
        _flag("--close-look", "end the present look of a study with trials missing, for good"),
        foreign,
        _pairing_options(),
    ]


def _pairing_options() -> ArgumentParser:
    """Say how runs of other tools are paired that don't pair by themselves."""
    options = ArgumentParser(add_help=False)
    pairing = options.add_argument_group("how such runs are paired")
    pairing.add_argument(
        "--unpaired",
        action="store_true",
        help="they have no seeds in common: compare all of them, by Welch's t test",
    )
    pairing.add_argument(
        "--duplicates",
        choices=("first", "last"),
        help="which run counts if a seed of a candidate has several that finished",
    )
    pairing.add_argument(
        "--at-step",
        type=_whole_number(0, _MOST_STEPS),
        metavar="N",
        help="compare all runs at step N, however long they went on",
    )
    pairing.add_argument(
        "--any-length",
        action="store_true",
        help="compare last values, whatever number of steps they took",
    )
    pairing.add_argument(
        "--separate-workloads",
        action="store_true",
        help="workloads are data sets of their own: equal seeds on two of them share nothing",
    )
    return options


def _collect_options() -> list[ArgumentParser]:
    kept = "bring kept checkpoints as well (`checkpoint: {keep: last | best}`), as artifacts"
    return [
        _flag("--follow", "go on until the jobs have ended, as curves grow"),
        _flag("--restore", "take the experiment out of the trash, if it was deleted in MLflow"),
        _flag("--checkpoints", kept),
    ]


def _ui_options() -> list[ArgumentParser]:
    port = _whole_number(1024, _LAST_PORT)
    return [
        _option("study", "STUDY", "open its page (all studies of the root)", nargs="?"),
        _option("--port", "N", "listen there (a free one)", type=port),
        _flag("--no-password", "let every user of this machine in"),
        _flag("--no-browser", "print the link alone"),
    ]


def _export_options() -> list[ArgumentParser]:
    formats = ("parquet", "csv", "tensorboard")
    tables = "tables of trials and curves, or TensorBoard's event files (parquet)"
    return [
        _option("--format", None, tables, choices=formats, default="parquet"),
        _option("--to", "DIR", "where to (the folder `export` of the study)", type=Path),
    ]


def _studies_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    one = options.add_mutually_exclusive_group()
    one.add_argument("--archive", metavar="NAME", help="put a study away into one file")
    one.add_argument("--restore", metavar="NAME", help="take it out again")
    one.add_argument("--remove", metavar="NAME", help="delete a study with all its results")
    options.add_argument("--yes", action="store_true", help="yes, delete it")
    return options


def _doctor_options() -> list[ArgumentParser]:
    wait = "how long that job may wait in the queue (10min)"
    answers = ArgumentParser(add_help=False)
    one = answers.add_mutually_exclusive_group()
    for option, purpose in (
        ("--record", "leave what the site has answered there as well"),
        ("--recorded", "answer from what was recorded there"),
    ):
        one.add_argument(option, type=Path, metavar="DIR", help=purpose)
    return [
        _flag("--nodes", "send a job of two nodes for a minute: files, Python, rendezvous, GPU"),
        _option("--wait", "TIME", wait, type=_seconds, default=_WAIT_S),
        _option("--write-profile", "NAME", "write a profile of what was found, by that name"),
        answers,
    ]


def _simulate_options() -> ArgumentParser:
    options = ArgumentParser(add_help=False)
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


def _cluster_options() -> list[ArgumentParser]:
    number, some = (_whole_number(least, _MOST_OF_A_CLUSTER) for least in (0, 1))
    cap = "the most jobs that you may have queued, each array task counted (--accounting)"
    return [
        _option("action", None, None, choices=("up", "status", "down")),
        _option("--dir", "DIR", "its folder (~/.local/state/thermolion/cluster)", type=Path),
        *(
            _option(option, "N", f"{purpose} ({default})", type=type_, default=default)
            for option, type_, default, purpose in (
                ("--nodes", some, 4, "how many nodes"),
                ("--cpus", some, 2, "CPUs of a node; jobs share the cores that are there"),
                ("--gpus", number, 2, "fake GPUs of a node"),
                ("--max-array-size", number, 1001, "MaxArraySize"),
            )
        ),
        _flag("--accounting", "with slurmdbd and MariaDB: sacct, limits"),
        _option("--submit-cap", "N", cap, type=number),
    ]


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


def _sd(text: str) -> float:
    try:
        effect = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: write 1, or 0.5") from error
    if not _LEAST_EFFECT <= effect <= _MOST_EFFECT:
        raise argparse.ArgumentTypeError(
            f"{text} is not between {_LEAST_EFFECT} and {_MOST_EFFECT}"
        )
    return effect


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
