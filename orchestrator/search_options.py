"""The options of `search`."""

import argparse


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add what a search for one candidate's settings may be told."""
    parser.add_argument(
        "--candidate", required=True, metavar="NAME", help="for which one settings are looked for"
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="settings to try (those of `tune:`, else 20)"
    )
    parser.add_argument(
        "--search",
        metavar="HOW",
        help="how they are chosen: sobol, optuna or asha (as in `tune:`)",
    )
