"""Sweeps with one mistake, and how each of them is to be refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

VERBS = ("plan", "run")  # that read a sweep and refuse what is wrong in it

_HEAD = "study: s\n"
_WORKLOADS = "workloads: [{dataset: digits, model: mlp, epochs: 1}]\n"
_CANDIDATES = "candidates:\n  adamw: {lr: 1e-3}\n  lion: {}\n"
_SEEDS = "seeds: 2\n"


def sweep(**parts: str) -> str:
    """Return the text of a sweep: `parts` are put in the place of its own, by name, or added."""
    whole = {"head": _HEAD, "workloads": _WORKLOADS, "candidates": _CANDIDATES, "seeds": _SEEDS}
    return "".join((whole | parts).values())


def workload(**keys: object) -> str:
    """Return the workloads of a sweep: one, with some keys of its own."""
    inside = {"dataset": "digits", "model": "mlp", "epochs": 1} | keys
    return "workloads:\n  - " + "\n    ".join(f"{k}: {v}" for k, v in inside.items()) + "\n"


def assert_refused(
    thermolion: Callable[..., Any], verb: str, path: Path, text: str, expected: list[str]
) -> None:
    """Fail unless a verb answers 2 in one line that names file and `expected`, and starts none."""
    path.write_text(text)
    said = thermolion(verb, path)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for words in [str(path), *expected]:
        assert words in said.err, said.err
    assert not (path.parent / "studies").exists()
