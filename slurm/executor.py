"""Renders a request as the text that sbatch gets, and submits it.

Nothing is pickled: a job reads its pack from the study's folder, and answers there.
"""

import re
import shlex
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.commands import CommandFailed, ask
from slurm.resources import Request
from slurm.slurm_errors import NoAnswer, SlurmError

# What SLURM answers where the user has too many jobs in the queue.
_FULL = re.compile(
    r"SubmitJob\w*Limit|MaxSubmitJob|MaxJobCount|temporarily unable to accept", re.I
)
# Any policy may be behind this one; what it is stands beside it, but for old versions.
_POLICY, _NAMED = re.compile(r"job submit limit", re.I), re.compile(r"\b(Assoc|QOS)[A-Z]\w+")
# What its commands say where the controller gives no answer: whether it has the job, nobody knows.
_NO_ANSWER = re.compile(
    r"Unable to contact|timed out|Zero Bytes were transmitted|Connection (refused|reset)", re.I
)


_PATIENCE_S = 300.0  # sbatch itself tries for minutes
_ID = re.compile(r"(\d+)(;.*)?")  # a site's greeting may stand before it, its cluster after it
_GRACE_S = 90
# Parameters that are for us, or for who wrote scripts before.
_NO_OPTIONS = {
    *("setup", "additional_parameters", "signal_delay_s"),
    *("stderr_to_stdout", "use_srun", "wckey"),
}


class QueueFull(SlurmError):  # noqa: N818 - it names a state, not a mistake
    """The site takes no more jobs of this user at the moment; surely, where it names a limit."""

    def __init__(self, said: str, names_limit: bool) -> None:
        super().__init__(said)
        self.names_limit = names_limit


@dataclass(frozen=True)
class Sending:
    """What changes from chunk to chunk: name, array indices, throttle, whom to wait for."""

    name: str
    array: str | None = None
    dependency: str | None = None


def render(request: Request, sending: Sending) -> str:
    """Return the exact text of the batch script."""
    options = _options(request.parameters, sending)
    lines = ["#!/bin/bash", "", "# Parameters"]
    lines += [_flag(name, options[name]) for name in sorted(options)]
    lines += ["", "# setup", *request.parameters["setup"], "", "# command"]
    # Nobody reads the variable: it stays so that the same request gives the same script for ever.
    lines += ["export SUBMITIT_EXECUTOR=slurm", request.command, ""]
    return "\n".join(lines)


def submit(request: Request, sending: Sending, folder: Path) -> str:
    """Hand a request to sbatch and return the job's id; the script stays in `folder`.

    Raises QueueFull if a limit on submitted jobs is reached, NoAnswer if the controller does not
    say whether it has the job, SlurmError for any other refusal.
    """
    folder.mkdir(exist_ok=True)
    draft = folder / f".{uuid.uuid4().hex}.sh"
    draft.write_text(render(request, sending))
    try:
        said = ask(["sbatch", "--parsable", str(draft)], patience_s=_PATIENCE_S)
        ids = [found[1] for line in said.splitlines() if (found := _ID.fullmatch(line.strip()))]
        if not ids:
            raise NoAnswer(f"sbatch prints {said.strip()!r}, and no id of a job")
        draft.rename(folder / f"{ids[-1]}_submission.sh")
        return ids[-1]
    except CommandFailed as error:
        raise _refusal(error.stderr) from error
    finally:
        draft.unlink(missing_ok=True)


def _options(parameters: Mapping[str, Any], sending: Sending) -> Mapping[str, Any]:
    """Return the options of sbatch by name; those of the site have the last word."""
    grace_s = parameters.get("signal_delay_s", _GRACE_S)
    options = {name: value for name, value in parameters.items() if name not in _NO_OPTIONS}
    options |= {"job_name": sending.name, "open-mode": "append", "signal": f"USR2@{grace_s}"}
    options["dependency"] = sending.dependency
    options |= parameters["additional_parameters"]
    if sending.array is not None:
        options["array"] = sending.array
    return {name: value for name, value in options.items() if value is not None}


def _flag(name: str, value: object) -> str:
    option = f"#SBATCH --{name.replace('_', '-')}"
    return option if value is True else f"{option}={shlex.quote(str(value))}"


def _refusal(stderr: str) -> SlurmError:
    lines = [line.partition("error: ")[2] for line in stderr.splitlines() if "error: " in line]
    said = "; ".join(lines) or stderr.strip()
    names_limit = _FULL.search(said) is not None
    if names_limit or (_POLICY.search(said) and not _NAMED.search(said)):
        return QueueFull(said, names_limit)
    if _NO_ANSWER.search(said):
        return NoAnswer(f"sbatch: {said}")
    return SlurmError(f"sbatch refuses: {said}")
