"""Renders a request as the text that sbatch gets, by submitit, and submits it.

Nothing of ours is pickled: a job reads its pack from the study's folder, and answers there. For
that one function of submitit is used that it does not publish; `test_submitit.py` says what it has
to be, and fails if another version has changed it. Most commands send nothing: submitit is loaded
by the function that needs it.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm import commands
from slurm.environment import PACK_VARIABLE
from slurm.request import Request
from slurm.slurm_errors import NoAnswer, SlurmError

# What SLURM answers if the user has too many jobs in the queue.
_FULL = re.compile(
    r"SubmitJob\w*Limit|MaxSubmitJob|MaxJobCount|temporarily unable to accept", re.I
)
# Any policy may be behind this one; newer versions name it beside it.
_POLICY, _NAMED = re.compile(r"job submit limit", re.I), re.compile(r"\b(Assoc|QOS)[A-Z]\w+")
# What SLURM's commands print if the controller gives no answer: it may have the job, or not.
_NO_ANSWER = re.compile(
    r"Unable to contact|timed out|Zero Bytes were transmitted|Connection (refused|reset)", re.I
)
# The answer to --parsable, and that of a site's sbatch which does not know it.
_SHOWN = 80  # characters of an answer that cannot be read
_ID = re.compile(r"(?:Submitted batch job )?(\d+)(?:;[\w.-]+)?(?: on cluster \S+)?")

_log = logging.getLogger(__name__)


class QueueFull(SlurmError):  # noqa: N818 - it names a state, not a mistake
    """The site takes no more jobs of this user at the moment; for certain if it names a limit."""

    def __init__(self, refusal: str, names_limit: bool) -> None:
        super().__init__(refusal)
        self.names_limit = names_limit


@dataclass(frozen=True)
class SubmitOptions:
    """What a request does not say: the job's name, array indices with throttle, dependency.

    `pack` is the one that it carries, if it is no array.
    """

    name: str
    array: str | None = None
    dependency: str | None = None
    pack: int | None = None


def render(request: Request, options: SubmitOptions, folder: Path) -> str:
    """Return the exact text of the batch script."""
    from submitit.slurm import slurm

    text: str = slurm._make_sbatch_string(
        command=request.command, folder=folder, **_parameters(request, options)
    )
    return text


def submit(request: Request, options: SubmitOptions, folder: Path) -> str:
    """Hand a request to sbatch and return the job's id; the script stays in `folder`.

    Raises QueueFull if a limit on submitted jobs is reached, NoAnswer if the controller does not
    say if it has the job, SlurmError for any other refusal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".submission_file_{uuid.uuid4().hex}.sh"
    try:
        text = render(request, options, folder)
        draft.write_text(text, encoding="utf-8", errors="surrogateescape")  # paths of any bytes
        done = commands.call(["sbatch", "--parsable", str(draft)])
        if done.returncode != 0:
            raise _classify(_refusal(done.stderr or done.stdout))
        job = _read_id(done.stdout)
        draft.replace(folder / f"{job}_submission.sh")
    finally:
        for left in folder.glob(".submission_file_*"):  # also of a sender that was killed
            left.unlink(missing_ok=True)
    if warnings := " ".join(done.stderr.split()):
        _log.info("sbatch, of job %s: %s", job, warnings)
    return job


def _classify(refusal: str) -> SlurmError:
    names_limit = _FULL.search(refusal) is not None
    if names_limit or (_POLICY.search(refusal) and not _NAMED.search(refusal)):
        return QueueFull(refusal, names_limit)
    if _NO_ANSWER.search(refusal):
        return NoAnswer(f"sbatch: {refusal}")
    return SlurmError(f"sbatch refuses: {refusal}")


def _read_id(answer: str) -> str:
    """Return the id in the answer of sbatch: its last line, for a site may greet before it.

    Raises NoAnswer if it has none: the job may have been taken all the same.
    """
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    said = [match[1] for line in lines if (match := _ID.fullmatch(line)) is not None]
    if not said:
        last = repr(lines[-1][:_SHOWN]) if lines else "it has printed nothing"
        raise NoAnswer(
            f"sbatch does not say which job it has sent ({last}): if it is in squeue, the next "
            "`thermolion submit` finds it by its name"
        )
    return said[-1]


def _parameters(request: Request, options: SubmitOptions) -> Mapping[str, Any]:
    extra = dict(request.parameters["additional_parameters"])
    if options.array is not None:
        extra["array"] = options.array
    parameters = dict(request.parameters) | {"job_name": options.name}
    if options.pack is not None:
        extra["output"] = re.sub(r"%a\.log$", f"{options.pack}.log", extra["output"])
        told = f"export {PACK_VARIABLE}={options.pack}"
        parameters["setup"] = [*parameters["setup"], told]
    if options.dependency is not None:
        parameters["dependency"] = options.dependency
    return parameters | {"additional_parameters": extra}


def _refusal(text: str) -> str:
    errors = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    return "; ".join(errors) or text.strip()
