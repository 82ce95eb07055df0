"""The errors of `slurm/`: what goes wrong with SLURM, in one sentence that says what to do."""

from thermolion.errors import InputError, OperationError


class SlurmError(OperationError):
    """SLURM is absent, does not answer, or refuses; the message says which, and what to do."""


class SiteError(InputError):
    """The site cannot fulfil a request; raised before anything is sent."""


class NoAnswer(SlurmError):  # noqa: N818 - it names a state, not a mistake
    """The controller cannot be reached at the moment; a job may have been taken all the same."""
