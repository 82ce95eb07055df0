"""How many data sets a study has, and how many it takes to speak of others. Needs no scipy."""

from jobs.trial import Workload, canonical_json


def data_set(workload: Workload) -> str:
    """Name the data set of a workload; two models on one data set are not two data sets.

    The user's own training has whatever data its name stands for.
    """
    if workload.is_own:
        return workload.name
    own_loader = ":" in workload.dataset  # its options may be what tells its data sets apart
    options = canonical_json(workload.dataset_options) if own_loader else ""
    return f"{workload.dataset} {options}".rstrip()


def needed(tests: int, alpha: float) -> int:
    """Return how many data sets are needed to reach `alpha` at Holm's first step of `tests`.

    The exact signed-rank test over n of them cannot give a p-value below 2/2^n.
    """
    n = 2
    while tests * 2.0 ** (1 - n) > alpha:
        n += 1
    return n
