"""What goes wrong with SLURM, in one sentence that says what to do. Raised all over `slurm/`."""


class SlurmError(Exception):
    """SLURM is absent, does not answer, or refuses; the message says which, and what to do."""


class SiteError(SlurmError):
    """A request that the site cannot fulfil, found before anything is sent."""
