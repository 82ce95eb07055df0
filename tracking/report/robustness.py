"""How far the verdicts hang on the method and on single blocks: the tables for it.

Other tests of the same differences; the blocks that were left out or flagged, and the trials that
diverged. Decides nothing.
"""

from collections.abc import Mapping, Sequence

from tracking.compare.analysis import Endpoint, Question
from tracking.compare.result import Comparison, Difference
from tracking.outcomes import Outcome
from tracking.report.tables import Table, in_unit
from tracking.report.time_to_target import problems
from tracking.report.wording import (
    middle_interval,
    number,
    p_value,
    pp_suffix,
    scope,
    short_measure,
    signed,
    title,
)

_NOT_RESOLVABLE = "not resolvable"


def sensitivity(comparison: Comparison, question: Question) -> Table:
    """Other tests and other averages of the differences behind one question, unadjusted."""
    rows = [one for endpoint in Endpoint for one in comparison.rows(question, endpoint)]
    with_max_t = any(one.sensitivity and one.sensitivity.max_t_p is not None for one in rows)
    return Table.of(title(question), [_tests(one, comparison, with_max_t) for one in rows])


def _tests(one: Difference, comparison: Comparison, with_max_t: bool) -> Mapping[str, str]:
    pp = pp_suffix(comparison)
    tested = one.sensitivity
    sign_flip = signed_rank = max_t = mean = median = middle = spread = number(None)
    if tested is not None:
        sign_flip = _exact(tested.sign_flip_p, tested.sign_flip_floor, comparison.alpha)
        signed_rank = _exact(tested.signed_rank_p, tested.signed_rank_floor, comparison.alpha)
        max_t = p_value(tested.max_t_p)
        mean = in_unit(one.unit, signed(one.estimate.mean, one.unit), comparison)
        median = in_unit(one.unit, signed(one.median, one.unit), comparison)
        if tested.middle is not None:
            middle = in_unit(one.unit, signed(tested.middle.estimate, one.unit), comparison)
            middle += middle_interval(tested.middle, one.unit)
        if (found := tested.heterogeneity) is not None:
            spread = f"Q {found.q:.1f} on {found.df}, p {found.p:.2f}"
    return {
        "data": scope(one, comparison),
        "endpoint": short_measure(one),
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
    """Show a p-value, or that so few differences could not have given a small one."""
    if p is None or floor is None:
        return number(None)
    return p_value(p) if floor <= alpha else f"{p_value(p)} ({_NOT_RESOLVABLE})"


def list_exclusions(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Table]:
    """List the incomplete blocks, the trials that diverged and the blocks with a flag."""
    found = [
        Table(
            "Incomplete blocks: left out of every question that needs the missing trial",
            ("workload", "block", "missing"),
            tuple(
                (
                    block.workload,
                    str(block.block),
                    "; ".join(f"{name}: {why}" for name, why in block.reasons),
                )
                for block in comparison.incomplete
            ),
        ),
        Table(
            "Diverged trials: counted as chance",
            ("workload", "block", "candidate", "why", "trial"),
            tuple(
                (
                    one.trial.workload.name,
                    str(one.trial.block),
                    one.trial.candidate.name,
                    one.error or "no reason given",
                    one.trial.id,
                )
                for one in outcomes
                if one.state == "diverged"
            ),
        ),
        problems(comparison),
        Table(
            "Flagged blocks: used all the same",
            ("workload", "block", "flag", "detail"),
            tuple(
                (one.workload, str(one.block), one.kind, one.detail) for one in comparison.flags
            ),
        ),
    ]
    return [table for table in found if table.rows]
