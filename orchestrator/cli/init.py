"""The verb `init`: a commented sweep file to start from."""

import shlex
from argparse import Namespace

from orchestrator.cli.terminal import Exit, print_result
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.starters.starter import make_starter


def init(arguments: Namespace) -> int:
    """Write a starter sweep, and a function's module if there is none; replaces no file."""
    made = make_starter(arguments.kind, arguments.what, arguments.to)
    for path in made:
        if path.exists():
            other = path.with_stem(f"{path.stem}-2")
            raise SweepError(f"{path} is there already and is kept: write --to {other}")
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as opened:
            opened.write(text)
    named, sweep = " and ".join(map(str, made)), shlex.quote(str(arguments.to))
    print_result(f"wrote {named}; next: thermolion plan {sweep}, then thermolion run {sweep}")
    return Exit.DONE
