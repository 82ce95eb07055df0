"""Renders a request as the text that sbatch gets, and submits it, both by submitit.

Nothing of ours is pickled: a job reads its pack from the study's folder, and answers there. For
that two members of submitit are used that it does not publish; `test_submitit.py` says what they
have to be, and fails if another version has changed them. Most commands send nothing: submitit is
loaded by the two functions that need it.
"""

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.environment import without_job
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


class QueueFull(SlurmError):  # noqa: N818 - it names a state, not a mistake
    """The site takes no more jobs of this user at the moment; for certain if it names a limit."""

    def __init__(self, refusal: str, names_limit: bool) -> None:
        super().__init__(refusal)
        self.names_limit = names_limit


@dataclass(frozen=True)
class SubmitOptions:
    """What a request does not say: the job's name, array indices with throttle, dependency."""

    name: str
    array: str | None = None
    dependency: str | None = None


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
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.slurm.slurm import SlurmExecutor

    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = SlurmExecutor(folder)
        executor.parameters.update(_parameters(request, options))  # in the words of sbatch already
        # submitit prints what sbatch complains of, and raises it as well: once is enough.
        with without_job(), contextlib.redirect_stderr(io.StringIO()):
            job = executor._submit_command(request.command)
    except FailedSubmissionError as error:  # sbatch has not failed, but printed no id
        first = str(error).splitlines()[0]
        raise NoAnswer(f"sbatch does not say which job it has sent: {first}") from error
    except FailedJobError as error:
        refusal = _refusal(str(error))
        names_limit = _FULL.search(refusal) is not None
        if names_limit or (_POLICY.search(refusal) and not _NAMED.search(refusal)):
            raise QueueFull(refusal, names_limit) from error
        if _NO_ANSWER.search(refusal):
            raise NoAnswer(f"sbatch: {refusal}") from error
        raise SlurmError(f"sbatch refuses: {refusal}") from error
    except RuntimeError as error:  # of which the two above are kinds
        raise SlurmError(f"SLURM is not on this machine: {error}") from error
    finally:
        for draft in folder.glob(".submission_file_*"):
            draft.unlink(missing_ok=True)
    return str(job.job_id)


def _parameters(request: Request, options: SubmitOptions) -> Mapping[str, Any]:
    extra = dict(request.parameters["additional_parameters"])
    if options.array is not None:
        extra["array"] = options.array
    parameters = dict(request.parameters) | {"job_name": options.name}
    if options.dependency is not None:
        parameters["dependency"] = options.dependency
    return parameters | {"additional_parameters": extra}


def _refusal(text: str) -> str:
    errors = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    return "; ".join(errors) or text.strip()
