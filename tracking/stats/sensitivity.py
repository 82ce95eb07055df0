"""Tests that check an answer of Student's t without its assumption; they decide nothing.

Pure functions of paired differences, in whatever unit; if workloads are pooled, of one stratum of
differences each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from tracking.stats.sign_flip import flip_floor, max_t, sign_flip_p, stratified_sign_flip
from tracking.stats.signed_rank import PseudoMedian, hodges_lehmann, signed_rank_test
from tracking.stats.t_tests import Estimate

# Ranks need no more digits than this part of the largest difference.
_RESOLUTION = 1e-9


@dataclass(frozen=True)
class Heterogeneity:
    """Cochran's test that workloads differ by no more than their seeds, `q` being chi-square then.

    Unreliable with few seeds a workload (Cochran 1954): printed, never decided by.
    """

    q: float
    df: int
    p: float


@dataclass(frozen=True)
class Sensitivity:
    """Tests of the same differences that assume no normal distribution; p-values as they are.

    A floor is the smallest p-value that so few differences can give. `signed_rank_p` and `middle`
    are of a single workload, `heterogeneity` of several. `max_t_p` is adjusted over the questions
    about one candidate, if there are several.
    """

    sign_flip_p: float | None
    sign_flip_floor: float
    signed_rank_p: float | None = None
    signed_rank_floor: float | None = None
    middle: PseudoMedian | None = None
    heterogeneity: Heterogeneity | None = None
    max_t_p: float | None = None

    def contradicts(self, p: float | None, alpha: float) -> bool:
        """Return True if `p` rejects, and the sign-flip test could reject but does not."""
        return p is not None and max(p, self.sign_flip_floor) <= alpha < (self.sign_flip_p or 0)


def sensitivity(
    strata: Sequence[Sequence[float]], estimates: Sequence[Estimate] = ()
) -> Sensitivity | None:
    """Test the differences of one workload, or of several by strata; None without a pair.

    `estimates` are those of the strata, for their heterogeneity.
    """
    filled = [np.asarray(stratum, dtype=np.float64) for stratum in strata if len(stratum)]
    if not filled:
        return None
    if len(filled) > 1:
        _, p = stratified_sign_flip(filled)
        floor = flip_floor(int(np.count_nonzero(np.concatenate(filled))))
        return Sensitivity(p, floor, heterogeneity=heterogeneity(estimates))
    (d,) = filled
    ranked = signed_rank_test(d, _RESOLUTION * float(np.abs(d).max()))
    return Sensitivity(
        sign_flip_p=sign_flip_p(d),
        sign_flip_floor=flip_floor(int(np.count_nonzero(d))),
        signed_rank_p=None if ranked is None else ranked.p,
        signed_rank_floor=1.0 if ranked is None else ranked.floor,
        middle=hodges_lehmann(d),
    )


def heterogeneity(estimates: Sequence[Estimate]) -> Heterogeneity | None:
    """Test if the means of workloads differ, each weighted by its inverse variance (Cochran 1954).

    None for fewer than two, and if one of them has no spread.
    """
    known = [(one.mean, one.se**-2) for one in estimates if one.mean is not None and one.se]
    if len(known) < 2 or len(known) < len(estimates):
        return None
    m, weights = np.array(known).T
    q = float((weights * (m - np.average(m, weights=weights)) ** 2).sum())
    df = len(m) - 1
    return Heterogeneity(q, df, float(special.chdtrc(df, q)))


def max_t_p(questions: Sequence[Mapping[tuple[str, int], float]]) -> list[float | None]:
    """Return p-values adjusted over questions that share their candidate, by max-T.

    Each question is its differences by (workload, block), of which those count that every
    question has. Workloads have the scale of their own root mean square, by question. All None for
    a single question, and if fewer than two blocks, or a question without a spread, remain.
    """
    shared = sorted(set.intersection(*(set(one) for one in questions))) if questions else []
    table = np.array([[one[at] for one in questions] for at in shared], dtype=np.float64)
    names = np.array([workload for workload, _ in shared])
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        size = np.sqrt(np.mean(table[rows] ** 2, axis=0))
        table[rows] /= np.where(size > 0, size, 1.0)
    tests = max_t(table) if len(questions) > 1 else None
    return [None] * len(questions) if tests is None else tests[1].tolist()
