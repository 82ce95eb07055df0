"""The tables of an answer as text cells, for the terminal, Markdown and HTML alike.

Chooses rows, columns and formats; draws no border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tracking.comparison import Comparison, Difference, Question
from tracking.endpoints import ENDPOINTS
from tracking.wording import (
    MEASURES,
    interval,
    number,
    p_value,
    scope,
    signed,
    title,
    verdict_words,
)


@dataclass(frozen=True)
class Table:
    """Cells by row; `header` has one name a column, `caption` says what the rows are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def answers(comparison: Comparison, question: Question) -> Table:
    """Both endpoints of one question: the pooled answer first, then the workloads."""
    finals, aucs = (comparison.rows(question, endpoint) for endpoint in ENDPOINTS)
    return Table(
        caption=title(question),
        header=(
            "data",
            "Δ test accuracy, pp [95% CI]",
            "p adj.",
            "verdict",
            "Δ AUC, pp [95% CI]",
            "p adj.",
            "verdict",
        ),
        rows=tuple(
            (scope(final, comparison), *_answer(final), *_answer(auc))
            for final, auc in zip(finals, aucs, strict=True)
        ),
    )


def effects(comparison: Comparison, question: Question) -> Table:
    """What stands behind the verdicts of one question: sizes, robustness, what was resolvable."""
    rows = [one for endpoint in ENDPOINTS for one in comparison.rows(question, endpoint)]
    return Table(
        caption=title(question),
        header=(
            "data",
            "endpoint",
            "pairs",
            "p",
            "median Δ, pp",
            "g_z",
            "P(ahead) [95% CI]",
            "detectable, pp",
            "diverged",
            "Δ without them, pp",
        ),
        rows=tuple(_effect(one, comparison) for one in rows),
    )


def summaries(comparison: Comparison) -> Table:
    """Every candidate on every workload, described."""
    return Table(
        caption="Candidates by workload",
        header=(
            "workload",
            "candidate",
            "trials",
            "test accuracy, %",
            "sd, pp",
            "AUC, %",
            "diverged",
            "s per trial",
        ),
        rows=tuple(
            (
                one.workload,
                one.candidate,
                str(one.n) if one.n == one.planned else f"{one.n} of {one.planned}",
                number(one.mean_final),
                number(one.sd_final),
                number(one.mean_auc),
                str(one.diverged),
                number(one.median_seconds, 1),
            )
            for one in comparison.summaries
        ),
    )


def aligned(table: Table, heading: str | None = None) -> str:
    """Lay a table out in columns for a terminal; `heading` goes over the first one."""
    header = (heading or table.header[0], *table.header[1:])
    cells = [header, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (header, rule, *table.rows))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _answer(one: Difference) -> tuple[str, str, str]:
    change = f"{signed(one.estimate.mean)} {interval(one.estimate)}".rstrip()
    return change, p_value(one.p_adjusted), verdict_words(one)


def _effect(one: Difference, comparison: Comparison) -> tuple[str, ...]:
    without = one.without_collapse
    ahead = one.superiority
    return (
        scope(one, comparison),
        MEASURES[one.measure].split(" (")[0],
        str(one.estimate.n),
        p_value(one.estimate.p),
        signed(one.median),
        number(one.estimate.g_z),
        number(None)
        if ahead is None
        else f"{ahead.probability:.2f} [{ahead.low:.2f}, {ahead.high:.2f}]",
        number(one.smallest_detectable),
        " vs ".join(f"{arm}/{one.estimate.n}" for arm in one.collapsed),
        number(None) if without is None else f"{signed(without.mean)} {interval(without)}".strip(),
    )
