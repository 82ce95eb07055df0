"""Calls of SLURM's own commands, with a time-out and one sentence for what goes wrong.

Knows no option of them; every call is one more question to a controller that all users share.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from slurm.environment import without_job
from slurm.slurm_errors import SlurmError

_PATIENCE_S = 60.0
_NO_CLUSTER = "Could not establish a configuration source"


@dataclass(frozen=True)
class Answer:
    """What a command has printed, and what it complains of although it did not fail."""

    text: str
    complaint: str


def is_here() -> bool:
    """Return True if this machine has SLURM's commands."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def ask(command: Sequence[str]) -> str:
    """Return what a command prints; raises SlurmError if it is absent, fails or hangs."""
    return answer(command).text


def answer(command: Sequence[str]) -> Answer:
    """Return what a command prints on stdout and on stderr; raises SlurmError as `ask` does."""
    try:
        with without_job():
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",  # others may call their jobs what they like
                check=False,
                timeout=_PATIENCE_S,
            )
    except FileNotFoundError as error:
        raise SlurmError(
            f"{command[0]} is not on this machine: send from a login node of the cluster, or try "
            "one out with `thermolion cluster up`"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(
            f"{command[0]} does not answer within {_PATIENCE_S:.0f} s: the controller is down or "
            "overloaded, try again later"
        ) from error
    complaint = " ".join(done.stderr.split())
    if done.returncode != 0:
        said = complaint or f"exit code {done.returncode}"
        if _NO_CLUSTER in said:
            said = "no cluster is configured here; set SLURM_CONF, as `thermolion cluster up` says"
        raise SlurmError(f"{command[0]}: {said}")
    return Answer(done.stdout, complaint)
