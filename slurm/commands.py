"""Calls of SLURM's own commands, with a time-out and one sentence for what goes wrong.

Knows no option of them; every call is one more question to a controller that all users share.
"""

import logging
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from slurm.environment import without_job
from slurm.slurm_errors import NoAnswer, SlurmError

_PATIENCE_S = 60.0
_NO_CLUSTER = "Could not establish a configuration source"
_IDS = 500  # in one call

_log = logging.getLogger(__name__)


def is_here() -> bool:
    """Return True if this machine has SLURM's commands."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def ask(command: Sequence[str], patience_s: float = _PATIENCE_S) -> str:
    """Return what a command prints; raises SlurmError if it is absent, fails or hangs."""
    return run(command, patience_s).stdout


def ask_if_allowed(command: Sequence[str]) -> bool:
    """Run a command and return True; if it fails, log why and return False."""
    try:
        run(command)
    except SlurmError as error:
        _log.info("%s", error)
        return False
    return True


def run(
    command: Sequence[str], patience_s: float = _PATIENCE_S
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; raises SlurmError if it is absent, fails or hangs."""
    done = call(command, patience_s)
    if done.returncode != 0:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        if _NO_CLUSTER in why:
            why = "no cluster is configured here; set SLURM_CONF, as `thermolion cluster up` says"
        raise SlurmError(f"{command[0]}: {why}")
    return done


def call(
    command: Sequence[str], patience_s: float = _PATIENCE_S
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, however that is.

    Raises SlurmError if it is absent, NoAnswer if it hangs.
    """
    try:
        with without_job():
            return subprocess.run(
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


def in_batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids of jobs, as many at a time as one command is asked about."""
    for start in range(0, len(ids), _IDS):
        yield ids[start : start + _IDS]
