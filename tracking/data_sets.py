"""How many data sets it takes to speak of others. Needs no scipy."""


def needed(tests: int, alpha: float) -> int:
    """Return how many data sets are needed to reach `alpha` at Holm's first step of `tests`.

    The exact signed-rank test over n of them cannot give a p-value below 2/2^n.
    """
    n = 2
    while tests * 2.0 ** (1 - n) > alpha:
        n += 1
    return n
