"""The options of the command line that say which Ray is meant."""

import argparse


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a verb that sends trials, or plans to."""
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="of a Ray that runs already (the sweep's)"
    )
    parser.add_argument(
        "--on", choices=["slurm"], help="with --backend ray: start it within a SLURM job"
    )
