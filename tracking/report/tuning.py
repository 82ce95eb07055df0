"""Shows how settings were found: the report's section on tuning, and the answer of `search`.

In words, as tables, and drawn: the score by learning rate and by number of settings. Decides
nothing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from tracking.compare.result import Comparison
from tracking.compare.tuning import (
    RATE,
    RepeatedSearch,
    SearchSummary,
    TuningSummary,
    group_searches,
)
from tracking.report.figures.plots import Curve, LineStyle, chart
from tracking.report.tables import Section, Table, align, best_of_some
from tracking.report.wording import number, some

_MOST = 10  # settings that a terminal lists
_LISTED = 5  # chosen values that a cell lists
_TABLED = 12  # workloads that a table on the page has; numbers/tuning.csv has all
_DRAWN = 6  # workloads


def section(comparison: Comparison) -> Section | None:
    """Return the section on tuning; None if nothing was tuned."""
    tuning = comparison.tuning
    if tuning is None:
        return None
    groups = group_searches(tuning)
    if not groups:
        return Section("tuning", "Tuning", "No trial of tuning has begun.")
    tables = []
    if tuning.repeats > 1 or len(_workloads(groups)) > _TABLED:
        tables.append(_by_candidate(tuning, groups))
    tables.append(_chosen(tuning, groups))
    if any(group.expected for group in groups):
        tables.append(_settings(groups))
    return Section("tuning", "Tuning", _note(tuning, groups), tuple(tables))


def caveats(tuning: TuningSummary | None) -> list[str]:
    """Return what limits the verdicts because of the tuning."""
    if tuning is None:
        return []
    tried: dict[str, list[SearchSummary]] = {}
    for one in tuning.searched:
        tried.setdefault(one.candidate, []).append(one)
    budgets = [f"{name} {_span(len(one.settings) for one in of)}" for name, of in tried.items()]
    untuned = [f"{name} none" for name in tuning.untuned]
    groups = group_searches(tuning)
    at_edge = [
        f"{group.candidate} on {group.workload} ({_edges(group)})"
        for group in groups
        if any(one.edge for one in group.searches)
    ]
    early = [
        f"{group.candidate} on {group.workload}"
        for group in groups
        if any(_ended_early(one) for one in group.searches)
    ]
    concerned = {
        "Candidates were tuned with unequal budgets (settings tried: {}): a difference may be one "
        "of tuning.": [*budgets, *untuned] if tuning.unequal else [],
        "The chosen learning rate is the lowest or highest of all that were tried: {}. A better "
        "one may lie beyond.": at_edge,
        "The chosen setting itself ended early: {}. None that was trained to the end had a "
        "result, so it was chosen by less than its budget.": early,
    }
    texts = [text.format(some(names)) for text, names in concerned.items() if names]
    if tuning.proxy is not None:
        texts.append(
            f"Tuned by proxy ({tuning.proxy}): settings that are best there need not be best on "
            "what was compared, and one candidate may lose more by it than another."
        )
    return texts


def rows(tuning: TuningSummary | None) -> Iterator[dict[str, Any]]:
    """Yield one row for every setting that was tried, in full precision."""
    for one in () if tuning is None else tuning.searched:
        for setting in one.settings:
            yield {
                "workload": one.workload,
                "candidate": one.candidate,
                "search": one.search,
                "setting": setting.name,
                "metric": one.metric,
                "score": setting.score,
                "seeds": one.seeds,
                "diverged": setting.diverged,
                "rung": setting.rung,
                "chosen": setting.name == one.chosen,
            } | {name: setting.hyperparameters.get(name) for name, _ in one.space}


def _note(tuning: TuningSummary, groups: Sequence[RepeatedSearch]) -> str:
    budget = f"{_span(len(one.settings) for one in tuning.searched)} settings"
    rounds = (
        "in one round"
        if tuning.rounds == 1
        else f"in {tuning.rounds} rounds, the later ones because somebody's best learning rate "
        "lay at an edge: its space was widened by a factor of ten there, and all were given as "
        "many trials again"
    )
    repeated = ""
    if tuning.repeats > 1:
        if tuning.rounds > 1:
            rounds = rounds.replace("in ", "in up to ", 1)
        repeated = (
            f" That was repeated in {tuning.repeats} independent searches a workload, each with "
            "points and seeds of its own: a block b is compared with the settings of search b mod "
            f"{tuning.repeats}, so that the luck of a search is part of the error."
        )
    early = sum(one.rung is not None for of in tuning.searched for one in of.settings)
    ended = ""
    if early:
        ended = (
            f" {early} settings ended early, because others were better at a rung; who was "
            "there before turns on the order of the trials, which another run need not repeat."
        )
    proxy = f" They were tuned by proxy: {tuning.proxy}." if tuning.proxy is not None else ""
    return (
        f"Before the comparison every tuned candidate had {budget} tried on every workload, "
        f"{rounds} (search: {tuning.search}).{repeated}{proxy}{ended} The best by validation data "
        "was compared, on other seeds; no test data and no seed of the comparison had a part in "
        f"the choice. What is concluded holds for this budget.{_left_out(groups)}"
    )


def _left_out(groups: Sequence[RepeatedSearch]) -> str:
    """Say what tables and figures show if there are more workloads than they take."""
    workloads = _workloads(groups)
    texts = []
    if len(workloads) > _TABLED:
        texts.append(f"tables by workload have the first {_TABLED} of {len(workloads)}")
    if len(workloads) > _DRAWN:
        texts.append(f"figures are of the first {_DRAWN}")
    if not texts:
        return ""
    said = "; ".join(texts)
    return f" {said[0].upper()}{said[1:]}; numbers/tuning.csv has every setting of all."


def _by_candidate(tuning: TuningSummary, groups: Sequence[RepeatedSearch]) -> Table:
    """Return what all searches of each candidate have chosen, over all workloads."""
    rows = []
    for name in dict.fromkeys(group.candidate for group in groups):
        own = [group for group in groups if group.candidate == name]
        searches = [one for group in own for one in group.searches]
        chosen = sum(one.chosen is not None for one in searches)
        rates = [float(rate) for group in own for rate in group.values.get(RATE, ())]
        spreads = [group.spread for group in own if group.spread is not None]
        rows.append(
            {
                "candidate": name,
                "searches": str(chosen)
                if chosen == len(searches)
                else f"{chosen} of {len(searches)}",
                "tried in each": _span(len(one.settings) for one in searches),
                "chosen lr, median": number(None) if not rates else _value(median(rates)),
                "lowest to highest": number(None)
                if not rates
                else f"{_value(min(rates))} to {_value(max(rates))}",
                "spread on a workload": number(None)
                if not spreads
                else f"factor {median(spreads):.3g}",
                "at an edge": str(sum(one.edge is not None for one in searches)),
            }
        )
    untuned = dict.fromkeys(rows[0], number(None)) | {"searches": "0"}
    rows += [untuned | {"candidate": name} for name in tuning.untuned]
    return Table.of("What the searches have chosen (spread: the median over workloads)", rows)


def _chosen(tuning: TuningSummary, groups: Sequence[RepeatedSearch]) -> Table:
    rows = []
    for group in _tabled(groups):
        first, several = group.searches[0], len(group.searches) > 1
        row = {
            "workload": group.workload,
            "candidate": group.candidate,
            "space": "; ".join(f"{name} {words}" for name, words in first.space)
            + " (widened)" * first.widened,
            "tried": _tried(group.searches),
            "diverged": str(sum(s.diverged > 0 for one in group.searches for s in one.settings)),
            "chosen": _values(group),
            "validation": _scores(group.searches),
            "at an edge": _edges(group),
        }
        if several:
            row["space"] = _spaces(group)
        rows.append(row)
    untuned = dict.fromkeys(rows[0], number(None))
    untuned |= {"space": "as declared, not tuned", "tried": "0"}
    rows += [untuned | {"candidate": name} for name in tuning.untuned]
    return Table.of("Spaces and chosen settings", rows)


def _settings(groups: Sequence[RepeatedSearch]) -> Table:
    """Return the expected best of some of the settings, as if the budget had been smaller."""
    rows = [
        {
            "workload": group.workload,
            "candidate": group.candidate,
            "metric": group.searches[0].metric + ", %" * group.searches[0].in_points,
            "seeds": str(group.searches[0].seeds),
            **best_of_some(group.expected),
        }
        for group in _tabled(groups)
    ]
    several = any(len(group.searches) > 1 for group in groups)
    mean = ", mean over searches" if several else ""
    return Table.of(f"Expected best of so many settings, by validation data{mean}", rows)


def _workloads(groups: Sequence[RepeatedSearch]) -> list[str]:
    return list(dict.fromkeys(group.workload for group in groups))


def _tabled(groups: Sequence[RepeatedSearch]) -> list[RepeatedSearch]:
    shown = _workloads(groups)[:_TABLED]
    return [group for group in groups if group.workload in shown]


def _span(counts: Iterable[int]) -> str:
    """Write whole numbers as one or as a range: `8`, `8 to 16`."""
    low, high = min(all_ := list(counts)), max(all_)
    return str(low) if low == high else f"{low} to {high}"


def _spaces(group: RepeatedSearch) -> str:
    """Write the space as declared, and how many searches were widened."""
    plain = next((one for one in group.searches if not one.widened), group.searches[0])
    widened = sum(one.widened for one in group.searches)
    space = "; ".join(f"{name} {words}" for name, words in plain.space)
    return space + (f" ({widened} of {len(group.searches)} widened)" if widened else "")


def _tried(searches: Sequence[SearchSummary]) -> str:
    counts = _span(len(one.settings) for one in searches)
    each = f"{len(searches)} x {counts}" if len(searches) > 1 else counts
    early = [s.part for one in searches for s in one.settings if s.rung is not None]
    if not early:
        return each
    spent = fmean(setting.part for one in searches for setting in one.settings)
    return f"{each}, {len(early)} ended early ({100 * spent:.0f} % of the budget)"


def _edges(group: RepeatedSearch) -> str:
    """Say at which ends chosen rates lie, and in how many searches if there are several."""
    ends = Counter(one.edge for one in group.searches if one.edge is not None)
    if len(group.searches) == 1:
        return next(iter(ends), "no")
    counts = [f"{edge} in {count} of {len(group.searches)}" for edge, count in ends.items()]
    return ", ".join(counts) or "no"


def _ended_early(one: SearchSummary) -> bool:
    return any(s.name == one.chosen and s.rung is not None for s in one.settings)


def _scores(searches: Sequence[SearchSummary]) -> str:
    """Write the score of the chosen settings, from the lowest to the highest of the searches."""
    scores = [
        setting.score
        for one in searches
        for setting in one.settings
        if setting.name == one.chosen and setting.score is not None
    ]
    low, high = (number(f(scores)) if scores else number(None) for f in (min, max))
    unit = " %" if searches[0].in_points and scores else ""
    return (low if low == high else f"{low} to {high}") + unit


def _values(group: RepeatedSearch) -> str:
    parts = []
    for name, values in group.values.items():
        listed = ", ".join(map(_value, values[:_LISTED]))
        more = len(values) - _LISTED
        parts.append(f"{name} = {listed}" + (f" and {more} more" if more > 0 else ""))
    words = ("; " if len(group.searches) > 1 else ", ").join(parts) or number(None)
    return words + (f" (factor {group.spread:.3g})" if group.spread is not None else "")


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(tuning: TuningSummary | None, styles: Mapping[str, LineStyle]) -> list[str]:
    """Return up to two SVGs a workload: by learning rate, and by number of settings.

    Those of all searches are drawn together, and only the first workloads if there are many.
    """
    groups = () if tuning is None else group_searches(tuning)
    drawn = []
    for workload in _workloads(groups)[:_DRAWN]:
        own = [group for group in groups if group.workload == workload]
        first = own[0].searches[0]
        metric = first.metric.replace("_", " ") + ", %" * first.in_points
        rates = [Curve(one.candidate, _points(one), styles[one.candidate]) for one in own]
        if shown := [curve for curve in rates if curve.points]:
            better = min if first.lower_is_better else max
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
        expected = {one.candidate: one.expected for one in own if one.expected}
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


def _points(group: RepeatedSearch) -> list[tuple[float, float]]:
    """Return (log10 of the learning rate, score) in order; empty if the rate is not tuned.

    Settings that ended early are left out: their score is of another budget.
    """
    if RATE not in dict(group.searches[0].space):
        return []
    return sorted(
        (math.log10(setting.hyperparameters[RATE]), setting.score)
        for search in group.searches
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
