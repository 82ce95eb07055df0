"""Calls of SLURM's own commands, with a time-out and one sentence for what goes wrong.

Knows no option of them; every call is one more question to a controller that all users share.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from slurm.environment import without_job
from slurm.slurm_errors import NoAnswer, SlurmError

_PATIENCE_S = 60.0
_NO_CLUSTER = "Could not establish a configuration source"


@dataclass(frozen=True)
class Answer:
    """What a command has printed, and what it complains of although it did not fail."""

    text: str
    complaint: str


class CommandFailed(SlurmError):  # noqa: N818 - it names a state, not a mistake
    """A command that has refused what it was asked for; `stderr` is all that it says of it."""

    def __init__(self, message: str, stderr: str) -> None:
        super().__init__(message)
        self.stderr = stderr


def is_here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def ask(command: Sequence[str], patience_s: float = _PATIENCE_S) -> str:
    """Return what a command prints.

    Raises SlurmError if it is absent, CommandFailed if it fails, NoAnswer if it hangs.
    """
    return answer(command, patience_s).text


def answer(command: Sequence[str], patience_s: float = _PATIENCE_S) -> Answer:
    """Return what a command prints and says on stderr; raises errors as `ask` does."""
    try:
        with without_job():
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",  # others may call their jobs what they like
                check=False,
                timeout=patience_s,
            )
    except FileNotFoundError as error:
        raise SlurmError(
            f"{command[0]} is not on this machine: send from a login node of the cluster, or try "
            "one out with `thermolion cluster up`"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(
            f"{command[0]} does not answer within {patience_s:.0f} s: the controller is down or "
            "overloaded, try again later"
        ) from error
    complaint = " ".join(done.stderr.split())
    if done.returncode != 0:
        said = complaint or f"exit code {done.returncode}"
        if _NO_CLUSTER in said:
            said = "no cluster is configured here; set SLURM_CONF, as `thermolion cluster up` says"
        raise CommandFailed(f"{command[0]}: {said}", done.stderr or said)
    return Answer(done.stdout, complaint)
