"""Shows how far verdicts depend on the method: other tests and averages of the same differences.

No p-value here is adjusted, except that of the max-T test. Decides nothing.
"""

from collections.abc import Mapping

from tracking.compare.result import Comparison, Difference
from tracking.questions.analysis import Question
from tracking.report.tables import Table, in_unit
from tracking.report.wording import (
    middle_interval,
    number,
    p_relation,
    p_value,
    pp_suffix,
    scope,
    short_measure,
    signed,
    title,
)


def sensitivity(comparison: Comparison, question: Question) -> Table:
    """Return the other tests of one question: both endpoints, pooled and by workload."""
    rows = [
        one for endpoint in comparison.endpoints for one in comparison.rows(question, endpoint)
    ]
    with_max_t = any(one.sensitivity and one.sensitivity.max_t_p is not None for one in rows)
    return Table.of(title(question), [_tests(one, comparison, with_max_t) for one in rows])


def _tests(one: Difference, comparison: Comparison, with_max_t: bool) -> Mapping[str, str]:
    pp = pp_suffix(comparison)
    tests = one.sensitivity
    sign_flip = signed_rank = max_t = mean = median = middle = spread = number(None)
    if tests is not None:
        sign_flip = _exact(tests.sign_flip_p, tests.sign_flip_floor, comparison.alpha)
        signed_rank = _exact(tests.signed_rank_p, tests.signed_rank_floor, comparison.alpha)
        max_t = p_value(tests.max_t_p)
        mean = in_unit(one.unit, signed(one.estimate.mean, one.unit), comparison)
        median = in_unit(one.unit, signed(one.median, one.unit), comparison)
        if tests.middle is not None:
            middle = in_unit(one.unit, signed(tests.middle.estimate, one.unit), comparison)
            middle += middle_interval(tests.middle, one.unit)
        if tests.heterogeneity is not None:
            q, df, p = tests.heterogeneity.q, tests.heterogeneity.df, tests.heterogeneity.p
            spread = f"Q {q:.1f} on {df}, p {p_relation(p)}"
    return {
        "data": scope(one, comparison),
        "endpoint": short_measure(one.measure),
        "p: t": p_value(one.estimate.p),
        "p: sign-flip": sign_flip,
        "p: Wilcoxon": signed_rank,
        **({"p: max-T": max_t} if with_max_t else {}),
        f"mean Δ{pp}": mean,
        f"median Δ{pp}": median,
        f"Hodges-Lehmann Δ{pp} [95% CI]": middle,
        "heterogeneity": spread,
    }


def _exact(p: float | None, floor: float | None, alpha: float) -> str:
    """Format an exact p-value, marked if the smallest possible one, `floor`, exceeds `alpha`."""
    if p is None or floor is None:
        return number(None)
    return p_value(p) if floor <= alpha else f"{p_value(p)} (not resolvable)"
