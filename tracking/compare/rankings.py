"""Mean ranks of all candidates over the data sets of a study: a picture, and no verdict.

The arithmetic is in `tracking.stats.ranks`. Ranks depend on who else is compared; a pair is said
to differ by its own test, whatever the others do.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracking.compare.analysis import Endpoint
from tracking.compare.blocks import Blocks
from tracking.metric import Scale
from tracking.stats.multiplicity import holm
from tracking.stats.ranks import Friedman, cliques, critical_difference, friedman, rank_scores
from tracking.stats.signed_rank import signed_rank_test

LEAST_CANDIDATES, LEAST_DATA_SETS = 3, 2

_RESOLUTION = 1e-9  # of the largest difference: rounding makes no ranks

_Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Ranking:
    """Candidates by rising mean rank over `data_sets`, for one endpoint; 1 is the best.

    `cliques` are runs of candidates, by their place here, of which no pair is told apart: by the
    exact signed-rank test, Holm over all pairs; None if data sets have unlike units.
    `least_p` is the smallest that so many data sets and pairs can give. If nothing is ranked,
    `why` says why, and the rest is empty.
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


def rank_candidates(blocks: Blocks, alpha: float) -> tuple[Ranking, ...]:
    """Rank all candidates by both endpoints, on blocks where every one of them has a result."""
    return tuple(_ranking(blocks, endpoint, alpha) for endpoint in Endpoint)


def _ranking(blocks: Blocks, endpoint: Endpoint, alpha: float) -> Ranking:
    names = blocks.candidates
    if len(names) < LEAST_CANDIDATES:
        return Ranking(
            endpoint, why=f"ranks say something of three candidates or more, not of {len(names)}"
        )
    levels: dict[str, list[_Array]] = {}
    units = set()
    for workload, of in blocks.workloads.items():
        table = blocks.shared_results(workload, endpoint)
        if len(table):
            levels.setdefault(of.data_set, []).append(table.mean(axis=0))
            scale = Scale.of(of.metric_spec)
            units.add((scale.unit(of.metric_spec.metric), scale.lower_is_better))
    if len(levels) < LEAST_DATA_SETS:
        return Ranking(
            endpoint,
            why="ranks are compared over two data sets or more, and blocks in which every "
            f"candidate has a result are on {len(levels)}",
        )
    # Workloads of one data set share its one vote.
    votes = [rank_scores(np.array(of)).mean(axis=0) for of in levels.values()]
    mean_ranks = np.mean(votes, axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    mean = mean_ranks[order]
    n, k = len(levels), len(names)
    pairs = k * (k - 1) // 2
    means = np.array([np.mean(of, axis=0) for of in levels.values()])[:, order]
    return Ranking(
        endpoint=endpoint,
        candidates=tuple(names[i] for i in order),
        mean_ranks=tuple(float(rank) for rank in mean),
        data_sets=tuple(levels),
        friedman=friedman(mean, n),
        critical_difference=critical_difference(k, n, alpha),
        cliques=_cliques(mean.tolist(), means, alpha) if len(units) == 1 else None,
        least_p=min(1.0, pairs * 2.0 ** (1 - n)),
    )


def _cliques(
    mean_ranks: Sequence[float], means: _Array, alpha: float
) -> tuple[tuple[int, ...], ...]:
    """Join whom the signed-rank test over data sets, `means` (n, k), does not tell apart."""
    places = list(itertools.combinations(range(len(mean_ranks)), 2))
    found: list[float | None] = []
    for i, j in places:
        d = means[:, i] - means[:, j]
        tested = signed_rank_test(d, _RESOLUTION * float(np.abs(d).max()))
        found.append(None if tested is None else tested.p)
    adjusted = dict(zip(places, holm(found), strict=True))

    def differ(one: int, other: int) -> bool:
        p = adjusted[min(one, other), max(one, other)]
        return p is not None and p <= alpha

    return cliques(mean_ranks, differ)
