"""The tables of an answer as text cells, for the terminal, Markdown and HTML alike.

Chooses rows, columns and formats; draws no border.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.quantities import plural
from jobs.contract.workloads.workload import MetricSpec
from tracking.columns import columns
from tracking.compare.result import Comparison, Difference
from tracking.questions.analysis import Question
from tracking.report.wording import (
    all_in_points,
    column,
    confidence,
    endpoint_name,
    interval,
    level,
    number,
    p_value,
    pp_suffix,
    scope,
    share_ahead,
    share_of_wins,
    short_measure,
    signed,
    size,
    spell_score,
    suffix,
    title,
    unit_noun,
    verdict_words,
)
from tracking.stats.t_tests import Estimate

_SIDE_BY_SIDE = 2  # endpoints that a table has columns for
_IMAGE_SCORES = ("test accuracy, %", "sd, pp", "AUC, %")


@dataclass(frozen=True)
class Table:
    """Cells by row; `header` has one name a column, `caption` says what the rows are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, caption: str, rows: Iterable[Mapping[str, str]]) -> "Table":
        """Return a table of rows that name their cells, all alike; without rows, no column."""
        listed = list(rows)
        header = tuple(listed[0]) if listed else ()
        return cls(caption, header, tuple(tuple(row.values()) for row in listed))


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
    """Return the endpoints of one question: the pooled answer first, then the workloads.

    Two endpoints stand side by side, more of them below each other.
    """
    if len(comparison.endpoints) > _SIDE_BY_SIDE:
        return _long_answers(comparison, question)
    by_endpoint = [comparison.rows(question, endpoint) for endpoint in comparison.endpoints]
    header = ["data"]
    for endpoint in comparison.endpoints:
        interval_name = confidence(comparison)
        header.append(f"Δ {column(comparison, endpoint)} [{interval_name}]")
        header += [f"wins [{interval_name}]"] * (comparison.primary == "win_probability")
        header += ["p adj.", "verdict"]
    rows = tuple(
        (scope(same[0], comparison), *(cell for one in same for cell in _answer(one, comparison)))
        for same in zip(*by_endpoint, strict=True)
    )
    return Table(title(question), tuple(header), rows)


def _long_answers(comparison: Comparison, question: Question) -> Table:
    name = confidence(comparison)
    wins = [f"wins [{name}]"] * (comparison.primary == "win_probability")
    header = ("data", "endpoint", f"Δ [{name}]", *wins, "p adj.", "verdict")
    rows = tuple(
        (
            scope(one, comparison),
            endpoint_name(comparison, endpoint),
            *_answer(one, comparison),
        )
        for endpoint in comparison.endpoints
        for one in comparison.rows(question, endpoint)
    )
    return Table(title(question), header, rows)


def effects(comparison: Comparison, question: Question) -> Table:
    """Return effect sizes, what remains without divergence, and the detectable difference."""
    rows = [
        one for endpoint in comparison.endpoints for one in comparison.rows(question, endpoint)
    ]
    return Table.of(title(question), [_effect(one, comparison) for one in rows])


def summaries(comparison: Comparison) -> Table:
    """Describe every candidate on every workload; users' metrics are named in a column."""
    specs = {workload.name: workload.metric_spec for workload in comparison.workloads}
    by_metric = comparison.names_metrics
    others = [one for one in comparison.endpoints if not one.is_standard]
    scores = ("metric", "final", "sd", "AUC") if by_metric else _IMAGE_SCORES
    return Table(
        caption="Candidates by workload",
        header=(
            *("workload", "candidate", "trials", *scores),
            *(one.name for one in others),
            *("diverged", "s per trial"),
        ),
        rows=tuple(
            (
                one.workload,
                one.candidate,
                str(one.n) if one.n == one.planned else f"{one.n} of {one.planned}",
                *((_metric(specs[one.workload]),) if by_metric else ()),
                level(one.mean_final, specs[one.workload]),
                level(one.sd_final, specs[one.workload]),
                level(one.mean_auc, specs[one.workload]),
                *(spell_score(mean) for _, mean in one.others),
                str(one.diverged),
                number(one.median_seconds, 1),
            )
            for one in comparison.summaries
        ),
    )


def _metric(spec: MetricSpec) -> str:
    """Name the metric of the final score, and that of the AUC if it is another one."""
    final = spec.final_metric or spec.metric
    name = final if final == spec.metric else f"{final}, AUC of {spec.metric}"
    unit = "" if spec.unit == "plain" else ", %"
    return name + unit + (" (lower is better)" if spec.goal == "min" else "")


def best_of_some(expected: Sequence[float]) -> Mapping[str, str]:
    """Return cells for the expected best of one setting, of half and of all of them.

    `expected` has a value for each number of settings from one on, or none at all.
    """
    half = (len(expected) - 1) // 2
    at = {"of one": 0, "of half": half, "of all": -1}
    return {name: number(expected[place] if expected else None) for name, place in at.items()}


def align(table: Table) -> str:
    """Lay a table out in columns for a terminal."""
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
    return columns([table.header, ["-" * width for width in widths], *table.rows])


def named(table: Table) -> Table:
    """Return a table whose caption stands over its first column, as there is no other place."""
    return Table(table.caption, (table.caption, *table.header[1:]), table.rows)


def counts(comparison: Comparison, question: Question) -> Table:
    """Return what is in of an open question: pairs and means, and nothing that says how sure."""
    by_endpoint = [comparison.rows(question, endpoint) for endpoint in comparison.endpoints]
    header = ["data so far"]
    for endpoint in comparison.endpoints:
        header += ["pairs", f"mean Δ {column(comparison, endpoint)}"]
    rows = tuple(
        (scope(same[0], comparison), *(cell for one in same for cell in _count(one, comparison)))
        for same in zip(*by_endpoint, strict=True)
    )
    return Table(title(question), tuple(header), rows)


def _count(one: Difference, comparison: Comparison) -> tuple[str, str]:
    mean = in_unit(one.unit, signed(one.estimate.mean, one.unit), comparison)
    return str(one.estimate.n), mean


def _answer(one: Difference, comparison: Comparison) -> tuple[str, ...]:
    found = [_change(one.estimate, one.unit, comparison)]
    if comparison.primary == "win_probability":
        found.append(number(None) if one.wins is None else share_of_wins(one.wins))
    return *found, p_value(one.p_adjusted), verdict_words(one, comparison)


def _change(estimate: Estimate, unit: str, comparison: Comparison) -> str:
    change = in_unit(unit, signed(estimate.mean, unit), comparison)
    return f"{change} {interval(estimate, unit)}".rstrip()


def in_unit(unit: str, difference: str, comparison: Comparison) -> str:
    """Add the unit to a formatted difference, unless the header names it."""
    is_named = all_in_points(comparison) or difference == number(None)
    return difference if is_named else difference + suffix(unit)


def _effect(one: Difference, comparison: Comparison) -> Mapping[str, str]:
    pp = pp_suffix(comparison)
    without = one.without_divergence
    counted = one.arms or (one.estimate.n, one.estimate.n)
    return {
        "data": scope(one, comparison),
        "endpoint": short_measure(one.measure),
        plural(unit_noun(comparison, one.question)): " vs ".join(map(str, one.arms))
        if one.arms
        else str(one.estimate.n),
        "p": p_value(one.estimate.p),
        f"median Δ{pp}": in_unit(one.unit, signed(one.median, one.unit), comparison),
        "g_z": number(one.estimate.g_z),
        "P(ahead) [95% CI]": share_ahead(one.superiority),
        f"detectable{pp}": in_unit(one.unit, size(one.smallest_detectable, one.unit), comparison),
        "diverged": " vs ".join(
            f"{diverged}/{of}" for diverged, of in zip(one.divergences, counted, strict=True)
        ),
        f"Δ without them{pp}": number(None)
        if without is None
        else _change(without, one.unit, comparison),
        **(_spread(one) if any(row.components for row in comparison.by_workload) else {}),
    }


def _spread(one: Difference) -> Mapping[str, str]:
    """Return where the spread of an answer comes from, if its searches have several blocks."""
    parts = one.components
    sizes = (None, None) if parts is None else (parts.search_sd, parts.block_sd)
    names = ("sd of searches", "sd of blocks")
    return {name: size(sd, one.unit) for name, sd in zip(names, sizes, strict=True)}
