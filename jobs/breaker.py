"""The circuit breaker: where the first trials of a submission fail alike, the rest waits.

Standard library only. Derived from the logs at each look, so that all lanes agree.
"""

from collections.abc import Collection, Mapping

from jobs.attempts import End
from jobs.trial import Trial


def cause(trial: Trial, ends: Mapping[str, End], patience: int) -> End | None:
    """Return the failure for which `trial` is better left alone, None where it may run.

    `ends` are the trials of the submission that have ended so far. It waits once `patience` of
    them have, all by failures of one signature: either those of its own candidate (all settings
    of it, where it is tuned) on its own workload, or all there are, of more than one candidate. A
    `patience` of 0 holds nothing.
    """
    if not patience:
        return None
    label = (trial.workload.name, trial.candidate.declared)
    own = [end for end in ends.values() if (end.workload, end.candidate) == label]
    several = len({end.candidate for end in ends.values()}) > 1
    return _common(own, patience) or (_common(ends.values(), patience) if several else None)


def _common(ends: Collection[End], patience: int) -> End | None:
    """Return one of `ends` if there are `patience` of them and all have failed alike."""
    alike = len({end.signature for end in ends}) == 1
    first = next(iter(ends), None)
    return first if first and first.signature and alike and len(ends) >= patience else None
