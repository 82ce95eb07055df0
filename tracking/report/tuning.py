"""How settings were found: the report's section on tuning, and the answer of `search`.

Words, tables, and drawings of the score by learning rate and by number of settings. Decides
nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from tracking.compare.result import Comparison
from tracking.compare.tuning import RATE, SearchSummary, TuningSummary
from tracking.report.plots import Curve, LineStyle, Words, chart
from tracking.report.tables import Section, Table, align, best_of_some
from tracking.report.wording import number

_MOST = 10  # settings that a terminal lists


def section(comparison: Comparison) -> Section | None:
    """Return the section, None if nothing was tuned."""
    found = comparison.tuning
    if found is None:
        return None
    tables = [_chosen(found)]
    if any(one.expected for one in found.searched):
        tables.append(_settings(found))
    return Section("tuning", "Tuning", _note(found), tuple(tables))


def caveats(found: TuningSummary | None) -> tuple[str, ...]:
    """Return what limits the verdicts because of the tuning."""
    if found is None:
        return ()
    said = []
    if found.unequal:
        listed = ", ".join(
            [*dict.fromkeys(f"{one.candidate} {len(one.settings)}" for one in found.searched)]
            + [f"{name} none" for name in found.untuned]
        )
        said.append(
            f"Candidates were tuned with unequal budgets (settings tried: {listed}): a difference "
            "may be one of tuning."
        )
    edges = [
        f"{one.candidate} on {one.workload} ({one.edge})" for one in found.searched if one.edge
    ]
    if edges:
        said.append(
            f"The chosen learning rate is the lowest or highest of all that were tried: "
            f"{', '.join(edges)}. A better one may lie beyond."
        )
    early = [
        f"{one.candidate} on {one.workload}"
        for one in found.searched
        if any(s.name == one.chosen and s.rung is not None for s in one.settings)
    ]
    if early:
        said.append(
            f"The chosen setting itself ended early: {', '.join(early)}. None that was trained to "
            "the end had a result, so it was chosen by less than its budget."
        )
    return tuple(said)


def rows(found: TuningSummary | None) -> Iterator[dict[str, Any]]:
    """Yield one row for every setting that was tried, in full precision."""
    for one in () if found is None else found.searched:
        for setting in one.settings:
            yield {
                "workload": one.workload,
                "candidate": one.candidate,
                "setting": setting.name,
                "metric": one.metric,
                "score": setting.score,
                "seeds": one.seeds,
                "diverged": setting.diverged,
                "rung": setting.rung,
                "chosen": setting.name == one.chosen,
            } | {name: setting.hyperparameters.get(name) for name, _ in one.space}


def _note(found: TuningSummary) -> str:
    counts = sorted({len(one.settings) for one in found.searched})
    budget = (
        f"{counts[0]} settings" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} settings"
    )
    rounds = (
        "in one round"
        if found.rounds == 1
        else f"in {found.rounds} rounds, the later ones because somebody's best learning rate lay "
        "at an edge: its space was widened by a factor of ten there, and all were given as many "
        "trials again"
    )
    early = [one for of in found.searched for one in of.settings if one.rung is not None]
    ended = ""
    if early:
        ended = (
            f" {len(early)} settings ended early, because others were better at a rung; who was "
            "there before turns on the order of the trials, which another run need not repeat."
        )
    return (
        f"Before the comparison every tuned candidate had {budget} tried on every workload, "
        f"{rounds} (search: {found.search}).{ended} The best by validation data was compared, on "
        "other seeds; no test data and no seed of the comparison had a part in the choice. What "
        "is concluded holds for this budget."
    )


def _chosen(found: TuningSummary) -> Table:
    rows = [
        {
            "workload": one.workload,
            "candidate": one.candidate,
            "space": "; ".join(f"{name} {words}" for name, words in one.space)
            + " (widened)" * one.widened,
            "tried": _tried(one),
            "diverged": str(sum(setting.diverged > 0 for setting in one.settings)),
            "chosen": _values(one),
            "validation": _score(one),
            "at an edge": one.edge or "no",
        }
        for one in found.searched
    ]
    table = Table.of("Spaces and chosen settings", rows)
    untuned = [
        (number(None), name, "as declared, not tuned", "0", *[number(None)] * 4)
        for name in found.untuned
    ]
    return replace(table, rows=(*table.rows, *untuned))


def _settings(found: TuningSummary) -> Table:
    """The expected best of some of the settings, as if the budget had been smaller."""
    rows = [
        {
            "workload": one.workload,
            "candidate": one.candidate,
            "metric": one.metric + ", %" * one.in_points,
            "seeds": str(one.seeds),
            **best_of_some(one.expected),
        }
        for one in found.searched
    ]
    return Table.of("Expected best of so many settings, by validation data", rows)


def _tried(one: SearchSummary) -> str:
    early = sum(setting.rung is not None for setting in one.settings)
    if not early:
        return str(len(one.settings))
    spent = fmean(setting.part for setting in one.settings)
    return f"{len(one.settings)}, {early} ended early ({100 * spent:.0f} % of the budget)"


def _score(one: SearchSummary) -> str:
    score = next((s.score for s in one.settings if s.name == one.chosen), None)
    return number(score) + (" %" if one.in_points and score is not None else "")


def _values(one: SearchSummary) -> str:
    given = [f"{name} = {value_text(value)}" for name, value in one.values]
    return ", ".join(given) or number(None)


def value_text(value: Any) -> str:
    """Write the value of a hyperparameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(found: TuningSummary | None, styles: Mapping[str, LineStyle]) -> list[str]:
    """Return up to two SVGs a workload: by learning rate, and by number of settings."""
    by_workload: dict[str, list[SearchSummary]] = {}
    for one in () if found is None else found.searched:
        by_workload.setdefault(one.workload, []).append(one)
    drawn = []
    for workload, rows in by_workload.items():
        metric = rows[0].metric.replace("_", " ") + (", %" if rows[0].in_points else "")
        drawn += _draw_rates(workload, metric, rows, styles)
        drawn += _draw_expected(workload, metric, rows, styles)
    return drawn


def _points(one: SearchSummary) -> list[tuple[float, float]]:
    """Return (log10 of the learning rate, score) in order; empty if the rate is not tuned.

    Settings that ended early are left out: their score is of another budget.
    """
    if RATE not in dict(one.space):
        return []
    return sorted(
        (math.log10(setting.hyperparameters[RATE]), setting.score)
        for setting in one.settings
        if setting.score is not None
        and setting.rung is None
        and setting.hyperparameters.get(RATE, 0) > 0
    )


def _draw_rates(
    workload: str, metric: str, rows: Sequence[SearchSummary], styles: Mapping[str, LineStyle]
) -> list[str]:
    curves = [Curve(one.candidate, _points(one), styles[one.candidate]) for one in rows]
    shown = [curve for curve in curves if curve.points]
    if not shown:
        return []
    title = f"{workload}: learning rates"
    words = Words(f"{workload}/rates", title, "log10 of the learning rate", metric)
    of = min if rows[0].lower_is_better else max
    best = "; ".join(
        f"{curve.name} best at {10 ** of(curve.points, key=lambda p: p[1])[0]:.2g}"
        for curve in shown
    )
    return [chart(words, shown, f"Validation by learning rate on {workload}: {best}")]


def _draw_expected(
    workload: str, metric: str, rows: Sequence[SearchSummary], styles: Mapping[str, LineStyle]
) -> list[str]:
    curves = [
        Curve(one.candidate, list(enumerate(one.expected, 1)), styles[one.candidate])
        for one in rows
        if one.expected
    ]
    if not curves:
        return []
    title = f"{workload}: expected best of k settings"
    words = Words(f"{workload}/expected", title, "settings tried", metric)
    said = "; ".join(f"{curve.name} {curve.points[-1][1]:.4g}" for curve in curves)
    return [chart(words, curves, f"Expected best of k settings on {workload}, of all: {said}")]


def search_text(found: SearchSummary, weights: Mapping[str, float], fresh: float | None) -> str:
    """Return what was found on one workload: the best settings, what matters, the next step."""
    unit = ", %" * found.in_points
    table = _best(found, unit)
    more = len(found.settings) - len(table.rows)
    parts = [align(table)] + ([f"and {more} more, in the report"] if more > 0 else [])
    if weights:
        listed = ", ".join(f"{name} {100 * part:.0f} %" for name, part in weights.items())
        parts.append(f"what the spread is due to: {listed}")
    if found.edge:
        parts.append(
            f"the best learning rate is the {found.edge} of all that were tried: a better one may "
            "lie beyond; write a wider `space` in `tune:`"
        )
    if fresh is not None:
        parts.append(
            f"on a fresh seed the best one ends at {number(fresh)}{unit.lstrip(',')}: the best of "
            "many is lucky as well, so this is the number to expect"
        )
    if found.values:
        values = ", ".join(f"{name}: {dict(found.values)[name]}" for name in _names(found))
        parts.append(
            f"next: candidates: {{{found.candidate}: {{{values}}}}}; against others only after "
            "`tune:` has given all of them as many trials"
        )
    return "\n".join(parts)


def _best(found: SearchSummary, unit: str) -> Table:
    names = _names(found)
    sign = 1.0 if found.lower_is_better else -1.0
    scored = [one for one in found.settings if one.score is not None]
    ranked = sorted(
        scored, key=lambda one: (one.diverged > 0, -one.reached, sign * (one.score or 0.0))
    )
    early = any(one.rung is not None for one in ranked)
    rows = tuple(
        (
            one.name,
            *(value_text(one.hyperparameters.get(name)) for name in names),
            number(one.score),
            str(one.diverged),
            *([str(one.rung or number(None))] if early else []),
        )
        for one in ranked[:_MOST]
    )
    header = (f"{found.workload}: setting", *names, f"{found.metric}{unit}", "diverged")
    header += ("ended early at",) if early else ()
    return Table("The best settings", header, rows)


def _names(found: SearchSummary) -> list[str]:
    return sorted((name for name, _ in found.space), key=lambda name: (name != RATE, name))
