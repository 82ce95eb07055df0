"""Shows how settings were found: the report's section on tuning, and the answer of `search`.

In words, as tables, and drawn: the score by learning rate and by number of settings. Decides
nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from tracking.compare.result import Comparison
from tracking.compare.tuning import RATE, SearchSummary, TuningSummary
from tracking.report.plots import Curve, LineStyle, chart
from tracking.report.tables import Section, Table, align, best_of_some
from tracking.report.wording import number

_MOST = 10  # settings that a terminal lists


def section(comparison: Comparison) -> Section | None:
    """Return the section on tuning; None if nothing was tuned."""
    tuning = comparison.tuning
    if tuning is None:
        return None
    tables = [_chosen(tuning)]
    if any(one.expected for one in tuning.searched):
        tables.append(_settings(tuning))
    return Section("tuning", "Tuning", _note(tuning), tuple(tables))


def caveats(tuning: TuningSummary | None) -> list[str]:
    """Return what limits the verdicts because of the tuning."""
    if tuning is None:
        return []
    budgets = dict.fromkeys(f"{one.candidate} {len(one.settings)}" for one in tuning.searched)
    untuned = [f"{name} none" for name in tuning.untuned]
    at_edge = [
        f"{one.candidate} on {one.workload} ({one.edge})" for one in tuning.searched if one.edge
    ]
    early = [
        f"{one.candidate} on {one.workload}"
        for one in tuning.searched
        if any(s.name == one.chosen and s.rung is not None for s in one.settings)
    ]
    concerned = {
        "Candidates were tuned with unequal budgets (settings tried: {}): a difference may be one "
        "of tuning.": [*budgets, *untuned] if tuning.unequal else [],
        "The chosen learning rate is the lowest or highest of all that were tried: {}. A better "
        "one may lie beyond.": at_edge,
        "The chosen setting itself ended early: {}. None that was trained to the end had a "
        "result, so it was chosen by less than its budget.": early,
    }
    return [text.format(", ".join(names)) for text, names in concerned.items() if names]


def rows(tuning: TuningSummary | None) -> Iterator[dict[str, Any]]:
    """Yield one row for every setting that was tried, in full precision."""
    for one in () if tuning is None else tuning.searched:
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


def _note(tuning: TuningSummary) -> str:
    counts = [len(one.settings) for one in tuning.searched]
    budget = f"{max(counts)} settings"
    if min(counts) < max(counts):
        budget = f"{min(counts)} to {budget}"
    rounds = (
        "in one round"
        if tuning.rounds == 1
        else f"in {tuning.rounds} rounds, the later ones because somebody's best learning rate "
        "lay at an edge: its space was widened by a factor of ten there, and all were given as "
        "many trials again"
    )
    early = sum(one.rung is not None for of in tuning.searched for one in of.settings)
    ended = ""
    if early:
        ended = (
            f" {early} settings ended early, because others were better at a rung; who was "
            "there before turns on the order of the trials, which another run need not repeat."
        )
    return (
        f"Before the comparison every tuned candidate had {budget} tried on every workload, "
        f"{rounds} (search: {tuning.search}).{ended} The best by validation data was compared, on "
        "other seeds; no test data and no seed of the comparison had a part in the choice. What "
        "is concluded holds for this budget."
    )


def _chosen(tuning: TuningSummary) -> Table:
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
        for one in tuning.searched
    ]
    untuned = dict.fromkeys(rows[0], number(None))
    untuned |= {"space": "as declared, not tuned", "tried": "0"}
    rows += [untuned | {"candidate": name} for name in tuning.untuned]
    return Table.of("Spaces and chosen settings", rows)


def _settings(tuning: TuningSummary) -> Table:
    """Return the expected best of some of the settings, as if the budget had been smaller."""
    rows = [
        {
            "workload": one.workload,
            "candidate": one.candidate,
            "metric": one.metric + ", %" * one.in_points,
            "seeds": str(one.seeds),
            **best_of_some(one.expected),
        }
        for one in tuning.searched
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
    return ", ".join(f"{name} = {_value(value)}" for name, value in one.values) or number(None)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(tuning: TuningSummary | None, styles: Mapping[str, LineStyle]) -> list[str]:
    """Return up to two SVGs a workload: by learning rate, and by number of settings."""
    searched = () if tuning is None else tuning.searched
    drawn = []
    for workload in dict.fromkeys(one.workload for one in searched):
        searches = [one for one in searched if one.workload == workload]
        metric = searches[0].metric.replace("_", " ") + ", %" * searches[0].in_points
        rates = [Curve(one.candidate, _points(one), styles[one.candidate]) for one in searches]
        if shown := [curve for curve in rates if curve.points]:
            better = min if searches[0].lower_is_better else max
            best = "; ".join(
                f"{curve.name} best at {10 ** better(curve.points, key=lambda p: p[1])[0]:.2g}"
                for curve in shown
            )
            rate_chart = chart(
                shown,
                name=f"{workload}/rates",
                title=f"{workload}: learning rates",
                x="log10 of the learning rate",
                y=metric,
                description=f"Validation by learning rate on {workload}: {best}",
            )
            drawn.append(rate_chart)
        expected = {one.candidate: one.expected for one in searches if one.expected}
        if expected:
            title = f"{workload}: expected best of k settings"
            drawn.append(draw_expected_best(workload, title, metric, expected, styles))
    return drawn


def draw_expected_best(
    workload: str,
    title: str,
    metric: str,
    expected: Mapping[str, Sequence[float]],
    styles: Mapping[str, LineStyle],
) -> str:
    """Draw the expected best of k settings by k, a line for each name in `expected`."""
    best = "; ".join(f"{name} {values[-1]:.4g}" for name, values in expected.items())
    return chart(
        [Curve(name, list(enumerate(v, 1)), styles[name]) for name, v in expected.items()],
        name=f"{title}/expected",
        title=title,
        x="settings tried",
        y=metric,
        description=f"Expected best of k settings on {workload}, of all: {best}",
    )


def _points(search: SearchSummary) -> list[tuple[float, float]]:
    """Return (log10 of the learning rate, score) in order; empty if the rate is not tuned.

    Settings that ended early are left out: their score is of another budget.
    """
    if RATE not in dict(search.space):
        return []
    return sorted(
        (math.log10(setting.hyperparameters[RATE]), setting.score)
        for setting in search.settings
        if setting.score is not None
        and setting.rung is None
        and setting.hyperparameters.get(RATE, 0) > 0
    )


def search_text(search: SearchSummary, weights: Mapping[str, float], fresh: float | None) -> str:
    """Return the result of a search on one workload: the best settings, and the next step.

    `weights` are the shares of the spread that hyperparameters account for, `fresh` is the score
    of the best setting on a seed that the search has not seen, None if there is no such trial.
    """
    unit = ", %" * search.in_points
    table = _best(search, unit)
    more = len(search.settings) - len(table.rows)
    parts = [align(table)] + ([f"and {more} more, in the report"] if more > 0 else [])
    if weights:
        listed = ", ".join(f"{name} {100 * part:.0f} %" for name, part in weights.items())
        parts.append(f"what the spread is due to: {listed}")
    if search.edge:
        parts.append(
            f"the best learning rate is the {search.edge} of all that were tried: a better one "
            "may lie beyond; write a wider `space` in `tune:`"
        )
    if fresh is not None:
        parts.append(
            f"on a fresh seed the best one ends at {number(fresh)}{unit.lstrip(',')}: the best of "
            "many is lucky as well, so this is the number to expect"
        )
    if search.values:
        values = ", ".join(f"{name}: {dict(search.values)[name]}" for name in _names(search))
        parts.append(
            f"next: candidates: {{{search.candidate}: {{{values}}}}}; against others only after "
            "`tune:` has given all of them as many trials"
        )
    return "\n".join(parts)


def _best(search: SearchSummary, unit: str) -> Table:
    names = _names(search)
    sign = 1.0 if search.lower_is_better else -1.0
    scored = [one for one in search.settings if one.score is not None]
    ranked = sorted(
        scored, key=lambda one: (one.diverged > 0, -one.reached, sign * (one.score or 0.0))
    )
    early = any(one.rung is not None for one in ranked)
    rows = tuple(
        (
            one.name,
            *(_value(one.hyperparameters.get(name)) for name in names),
            number(one.score),
            str(one.diverged),
            *([str(one.rung or number(None))] if early else []),
        )
        for one in ranked[:_MOST]
    )
    header = (f"{search.workload}: setting", *names, f"{search.metric}{unit}", "diverged")
    header += ("ended early at",) if early else ()
    return Table("The best settings", header, rows)


def _names(search: SearchSummary) -> list[str]:
    return sorted((name for name, _ in search.space), key=lambda name: (name != RATE, name))
