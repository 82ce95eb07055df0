"""Mean ranks of all candidates over the data sets of a study: a picture, and no verdict.

The arithmetic is in `tracking.stats.ranks`. Ranks depend on which other candidates are compared;
whether a pair differs depends on its own test alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.compare.blocks import Blocks
from tracking.metric import Scale
from tracking.questions.endpoint import LOG_FACTOR, STANDARD, Endpoint
from tracking.stats.multiplicity import holm
from tracking.stats.ranks import Friedman, cliques, critical_difference, friedman, rank_scores
from tracking.stats.signed_rank import signed_rank_test

LEAST_CANDIDATES, LEAST_DATA_SETS = 3, 2

_RESOLUTION = 1e-9  # of the largest difference: rounding makes no ranks


@dataclass(frozen=True)
class Ranking:
    """Candidates by rising mean rank over `data_sets`, for one endpoint; 1 is the best.

    `cliques` are runs of candidates, by their place here, of which no pair differs by the exact
    signed-rank test, Holm over all pairs; None if data sets have unlike units. `least_p` is the
    smallest p-value that so many data sets and pairs can give. If nothing is ranked, `why` has the
    reason, and the other fields are empty.
    """

    endpoint: Endpoint
    candidates: tuple[str, ...] = ()
    mean_ranks: tuple[float, ...] = ()
    data_sets: tuple[str, ...] = ()
    friedman: Friedman | None = None
    critical_difference: float | None = None
    cliques: tuple[tuple[int, ...], ...] | None = None
    least_p: float | None = None
    why: str | None = None


def rank_candidates(
    blocks: Blocks,
    alpha: float,
    is_waiting: bool = False,
    endpoints: Sequence[Endpoint] = STANDARD,
) -> tuple[Ranking, ...]:
    """Rank all candidates by each endpoint, on blocks in which every candidate has a result.

    If the comparison `is_waiting` for trials, nobody is ranked yet.
    """
    if is_waiting:
        why = "trials of the comparison are still to come"
        return tuple(Ranking(endpoint, why=why) for endpoint in endpoints)
    return tuple(_ranking(blocks, endpoint, alpha) for endpoint in endpoints)


def _ranking(blocks: Blocks, endpoint: Endpoint, alpha: float) -> Ranking:
    names = blocks.candidates
    if len(names) < LEAST_CANDIDATES:
        why = f"ranks say something of three candidates or more, not of {len(names)}"
        return Ranking(endpoint, why=why)
    levels: dict[str, list[NDArray[np.float64]]] = {}
    units = set()
    for name, workload in blocks.workloads.items():
        table = blocks.shared_results(name, endpoint)
        if len(table):
            levels.setdefault(workload.data_set, []).append(table.mean(axis=0))
            spec = endpoint.read(workload)
            scale = Scale.of(spec)
            is_time = endpoint.measure == "time_to_target"
            unit = LOG_FACTOR if is_time else scale.unit(spec.metric)
            units.add((unit, scale.lower_is_better and not is_time))
    n, k = len(levels), len(names)
    if n < LEAST_DATA_SETS:
        why = (
            "ranks are compared over two data sets or more, and blocks in which every "
            f"candidate has a result are on {n}"
        )
        return Ranking(endpoint, why=why)
    # Workloads of one data set share its one vote.
    votes = [rank_scores(rows).mean(axis=0) for rows in levels.values()]
    mean_ranks = np.mean(votes, axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    rising = mean_ranks[order]
    means = np.array([np.mean(rows, axis=0) for rows in levels.values()])[:, order]
    return Ranking(
        endpoint=endpoint,
        candidates=tuple(names[i] for i in order),
        mean_ranks=tuple(rising.tolist()),
        data_sets=tuple(levels),
        friedman=friedman(rising, n),
        critical_difference=critical_difference(k, n, alpha),
        cliques=_cliques(rising.tolist(), means, alpha) if len(units) == 1 else None,
        least_p=min(1.0, k * (k - 1) // 2 * 2.0 ** (1 - n)),
    )


def _cliques(
    mean_ranks: Sequence[float], means: NDArray[np.float64], alpha: float
) -> tuple[tuple[int, ...], ...]:
    """Return the cliques by the signed-rank test over data sets, whose `means` are (n, k)."""
    places = list(itertools.combinations(range(len(mean_ranks)), 2))
    p_values: list[float | None] = []
    for i, j in places:
        d = means[:, i] - means[:, j]
        test = signed_rank_test(d, _RESOLUTION * float(np.abs(d).max()))
        p_values.append(None if test is None else test.p)
    adjusted = dict(zip(places, holm(p_values), strict=True))

    def differ(one: int, other: int) -> bool:
        p = adjusted[min(one, other), max(one, other)]
        return p is not None and p <= alpha

    return cliques(mean_ranks, differ)
