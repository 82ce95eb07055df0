"""The options of `compare`."""

import argparse
from pathlib import Path


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Add what is compared, and which runs of an experiment that this tool did not make."""
    parser.add_argument(
        "studies",
        metavar="STUDY",
        nargs="*",
        help="a sweep file, or the name of a study; two of them are compared with each other",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write the report page there")
    runs = parser.add_argument_group("runs of an MLflow experiment, made by whatever tool")
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
