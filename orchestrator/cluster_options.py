"""The options of the verb `cluster`. Parses; what they mean is `slurm.dev_config`'s business."""

import argparse
from pathlib import Path

_MOST = 100_000


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add the action, the folder, and what `up` makes there."""
    parser.add_argument("action", choices=("up", "status", "down"))
    parser.add_argument("--dir", type=Path, help="its folder (~/.local/state/thermolion/cluster)")
    for option, default, help_ in (
        ("--nodes", 4, "how many nodes"),
        ("--cpus", 2, "CPUs of a node; jobs share the cores that are there"),
        ("--gpus", 2, "fake GPUs of a node"),
        ("--max-array-size", 1001, "MaxArraySize"),
    ):
        parser.add_argument(
            option, type=_count, default=default, metavar="N", help=f"{help_} ({default})"
        )
    parser.add_argument(
        "--accounting", action="store_true", help="with slurmdbd and MariaDB: sacct, limits"
    )
    parser.add_argument(
        "--submit-cap",
        type=_count,
        metavar="N",
        help="the most jobs that you may have queued, each array task counted (--accounting)",
    )


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= _MOST:
        raise argparse.ArgumentTypeError(f"{count} is not between 0 and {_MOST}")
    return count
