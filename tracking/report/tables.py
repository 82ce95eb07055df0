"""The tables of an answer as text cells, for the terminal, Markdown and HTML alike.

Chooses rows, columns and formats; draws no border.
"""

from dataclasses import dataclass

from jobs.contract.trial import MetricSpec
from tracking.columns import columns
from tracking.compare.analysis import Endpoint, Question
from tracking.compare.result import Comparison, Difference
from tracking.report.wording import (
    all_in_points,
    column,
    interval,
    level,
    measure,
    number,
    p_value,
    scope,
    signed,
    size,
    suffix,
    title,
    verdict_words,
)
from tracking.stats.t_tests import Estimate


@dataclass(frozen=True)
class Table:
    """Cells by row; `header` has one name a column, `caption` says what the rows are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """Tables with what there is to say of them; `key` names what is drawn beside them.

    Without a table the `note` says why.
    """

    key: str
    title: str
    note: str
    tables: tuple[Table, ...] = ()


def answers(comparison: Comparison, question: Question) -> Table:
    """Both endpoints of one question: the pooled answer first, then the workloads."""
    in_cells = not all_in_points(comparison)
    finals, aucs = (comparison.rows(question, endpoint) for endpoint in Endpoint)
    return Table(
        caption=title(question),
        header=(
            "data",
            f"Δ {column(comparison, Endpoint.FINAL)} [95% CI]",
            "p adj.",
            "verdict",
            f"Δ {column(comparison, Endpoint.AUC)} [95% CI]",
            "p adj.",
            "verdict",
        ),
        rows=tuple(
            (scope(final, comparison), *_answer(final, in_cells), *_answer(auc, in_cells))
            for final, auc in zip(finals, aucs, strict=True)
        ),
    )


def effects(comparison: Comparison, question: Question) -> Table:
    """What stands behind the verdicts of one question: sizes, robustness, what was resolvable."""
    rows = [one for endpoint in Endpoint for one in comparison.rows(question, endpoint)]
    in_cells = not all_in_points(comparison)
    pp = "" if in_cells else ", pp"
    return Table(
        caption=title(question),
        header=(
            "data",
            "endpoint",
            "pairs",
            "p",
            f"median Δ{pp}",
            "g_z",
            "P(ahead) [95% CI]",
            f"detectable{pp}",
            "diverged",
            f"Δ without them{pp}",
        ),
        rows=tuple(_effect(one, comparison, in_cells) for one in rows),
    )


def summaries(comparison: Comparison) -> Table:
    """Every candidate on every workload, described."""
    if comparison.any_of_user:
        return _own_summaries(comparison)
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


def _own_summaries(comparison: Comparison) -> Table:
    """The same, where the metric is not the same everywhere."""
    readings = {workload.name: workload.metric_spec for workload in comparison.workloads}
    return Table(
        caption="Candidates by workload",
        header=(
            "workload",
            "candidate",
            "trials",
            "metric",
            "final",
            "sd",
            "AUC",
            "diverged",
            "s per trial",
        ),
        rows=tuple(
            (
                one.workload,
                one.candidate,
                str(one.n) if one.n == one.planned else f"{one.n} of {one.planned}",
                _metric(readings[one.workload]),
                level(one.mean_final, readings[one.workload]),
                level(one.sd_final, readings[one.workload]),
                level(one.mean_auc, readings[one.workload]),
                str(one.diverged),
                number(one.median_seconds, 1),
            )
            for one in comparison.summaries
        ),
    )


def _metric(reading: MetricSpec) -> str:
    """Name the metric of the final score, and that of the AUC where it is another one."""
    final = reading.final_metric or reading.metric
    name = final if final == reading.metric else f"{final}, AUC of {reading.metric}"
    unit = "" if reading.unit == "plain" else ", %"
    return name + unit + (" (lower is better)" if reading.goal == "min" else "")


def align(table: Table, heading: str | None = None) -> str:
    """Lay a table out in columns for a terminal; `heading` goes over the first one."""
    header = (heading or table.header[0], *table.header[1:])
    widths = [max(map(len, column)) for column in zip(header, *table.rows, strict=True)]
    return columns([header, ["-" * width for width in widths], *table.rows])


def _answer(one: Difference, unit_in_cells: bool) -> tuple[str, str, str]:
    change = _change(one.estimate, one.unit, unit_in_cells)
    return change, p_value(one.p_adjusted), verdict_words(one)


def _change(estimate: Estimate, unit: str, unit_in_cells: bool) -> str:
    change = in_unit(unit, signed(estimate.mean, unit), unit_in_cells)
    return f"{change} {interval(estimate, unit)}".rstrip()


def in_unit(unit: str, said: str, unit_in_cells: bool) -> str:
    """Add the unit of a difference where the header does not name it."""
    return said + suffix(unit) if unit_in_cells and said != number(None) else said


def _effect(one: Difference, comparison: Comparison, unit_in_cells: bool) -> tuple[str, ...]:
    without = one.without_divergence
    ahead = one.superiority
    return (
        scope(one, comparison),
        measure(one).split(" (")[0],
        str(one.estimate.n),
        p_value(one.estimate.p),
        in_unit(one.unit, signed(one.median, one.unit), unit_in_cells),
        number(one.estimate.g_z),
        number(None)
        if ahead is None
        else f"{ahead.probability:.2f} [{ahead.low:.2f}, {ahead.high:.2f}]",
        in_unit(one.unit, size(one.smallest_detectable, one.unit), unit_in_cells),
        " vs ".join(f"{arm}/{one.estimate.n}" for arm in one.divergences),
        number(None) if without is None else _change(without, one.unit, unit_in_cells),
    )
