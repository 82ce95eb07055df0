"""The tables beside the verdicts: other tests of the same numbers, and the count over data sets.

Text cells, as in `tables`; chooses rows, columns and formats.

What a reader must be able to look up: incomplete blocks, diverged trials, flagged blocks.

Lists what `blocks` found; decides nothing.
"""

from collections.abc import Sequence

from tracking.compare.analysis import Endpoint, Question
from tracking.compare.result import AcrossDatasets, Comparison, Difference
from tracking.metric import PP
from tracking.outcomes import Outcome
from tracking.report.tables import Table, in_unit
from tracking.report.time_to_target import problems
from tracking.report.wording import (
    all_in_points,
    measure,
    measure_words,
    number,
    p_value,
    scope,
    signed,
    title,
)

_NOT_RESOLVABLE = "not resolvable"


def sensitivity(comparison: Comparison, question: Question) -> Table:
    """Other tests and other averages of the differences behind one question, unadjusted."""
    rows = [one for endpoint in Endpoint for one in comparison.rows(question, endpoint)]
    with_max_t = any(one.sensitivity and one.sensitivity.max_t_p is not None for one in rows)
    in_cells = not all_in_points(comparison)
    pp = "" if in_cells else ", pp"
    return Table(
        caption=title(question),
        header=(
            "data",
            "endpoint",
            "p: t",
            "p: sign-flip",
            "p: Wilcoxon",
            *(("p: max-T",) if with_max_t else ()),
            f"mean Δ{pp}",
            f"median Δ{pp}",
            f"Hodges-Lehmann Δ{pp} [95% CI]",
            "heterogeneity",
        ),
        rows=tuple(_tests(one, comparison, with_max_t, in_cells) for one in rows),
    )


def over_data_sets(comparison: Comparison) -> Table:
    """How many data sets say what, question by question and endpoint by endpoint."""
    return Table(
        caption="Over data sets",
        header=(
            "question",
            "endpoint",
            "data sets",
            "ahead / behind / level",
            "win / tie / loss / open",
            "typical Δ [95% CI]",
            "p",
            "p adj.",
            "on data sets like these",
        ),
        rows=tuple(_counted(one, comparison) for one in comparison.across_datasets),
    )


def _tests(
    one: Difference, comparison: Comparison, with_max_t: bool, unit_in_cells: bool
) -> tuple[str, ...]:
    tested = one.sensitivity
    cells = [
        scope(one, comparison),
        measure(one).split(" (")[0],
        p_value(one.estimate.p),
    ]
    if tested is None:
        return (*cells, *[number(None)] * (6 + with_max_t))
    middle, spread = tested.middle, tested.heterogeneity
    return (
        *cells,
        _exact(tested.sign_flip_p, tested.sign_flip_floor, comparison.alpha),
        _exact(tested.signed_rank_p, tested.signed_rank_floor, comparison.alpha),
        *((p_value(tested.max_t_p),) if with_max_t else ()),
        in_unit(one.unit, signed(one.estimate.mean, one.unit), unit_in_cells),
        in_unit(one.unit, signed(one.median, one.unit), unit_in_cells),
        number(None)
        if middle is None
        else in_unit(one.unit, signed(middle.estimate, one.unit), unit_in_cells)
        + _interval(middle.low, middle.high, one.unit),
        number(None) if spread is None else f"Q {spread.q:.1f} on {spread.df}, p {spread.p:.2f}",
    )


def _exact(p: float | None, floor: float | None, alpha: float) -> str:
    """Show a p-value, or that so few differences could not have given a small one."""
    if p is None or floor is None:
        return number(None)
    return p_value(p) if floor <= alpha else f"{p_value(p)} ({_NOT_RESOLVABLE})"


def _interval(low: float, high: float, unit: str) -> str:
    if low == -float("inf"):
        return ""
    return f" [{signed(low, unit)}, {signed(high, unit)}]"


def _counted(one: AcrossDatasets, comparison: Comparison) -> tuple[str, ...]:
    rows = [
        row
        for row in comparison.by_workload
        if row.question == one.question and row.endpoint == one.endpoint
    ]
    middle = one.middle
    return (
        title(one.question),
        measure_words(one.measure).split(" (")[0],
        str(len(one.means)),
        f"{one.ahead} / {one.behind} / {one.tied}",
        " / ".join(map(str, _wins(rows, comparison.rope_pp))),
        number(None)
        if middle is None
        else signed(middle.estimate, one.unit) + _interval(middle.low, middle.high, one.unit),
        p_value(one.p),
        p_value(one.p_adjusted),
        one.word,
    )


def _wins(rows: Sequence[Difference], rope_pp: float) -> tuple[int, int, int, int]:
    """Count 95% intervals beyond the margin, inside it, beyond it below, and across it."""
    win = tie = loss = 0
    for one in rows:
        low, high = one.estimate.low, one.estimate.high
        margin = rope_pp if one.unit == PP else 0.0
        if low is None or high is None:
            continue
        win += low > margin
        loss += high < -margin
        tie += -margin <= low and high <= margin
    return win, tie, loss, len(rows) - win - tie - loss


def list_exclusions(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Table]:
    """List the incomplete blocks, the trials that diverged and the blocks with a flag."""
    incomplete = [
        (
            block.workload,
            str(block.block),
            "; ".join(f"{name}: {why}" for name, why in block.reasons),
        )
        for block in comparison.incomplete
    ]
    diverged = [
        (
            one.trial.workload.name,
            str(one.trial.block),
            one.trial.candidate.name,
            one.error or "no reason given",
            one.trial.id,
        )
        for one in outcomes
        if one.state == "diverged"
    ]
    flagged = [(one.workload, str(one.block), one.kind, one.detail) for one in comparison.flags]
    found = [
        Table(
            "Incomplete blocks: left out of every question that needs the missing trial",
            ("workload", "block", "missing"),
            tuple(incomplete),
        ),
        Table(
            "Diverged trials: counted as chance",
            ("workload", "block", "candidate", "why", "trial"),
            tuple(diverged),
        ),
        problems(comparison),
        Table(
            "Flagged blocks: used all the same",
            ("workload", "block", "flag", "detail"),
            tuple(flagged),
        ),
    ]
    return [table for table in found if table.rows]
