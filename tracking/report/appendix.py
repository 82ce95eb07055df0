"""The appendix: other methods on the same numbers, each a part with its words, table and drawing.

A part that is empty says why. Decides nothing: no verdict is made from anything here.
"""

import math
from collections.abc import Mapping, Sequence

from jobs.contract.quantities import quantity
from tracking.compare.aggregates import LEAST_RUNS, MiddleScore
from tracking.compare.appendix import Appendix
from tracking.compare.rankings import Ranking
from tracking.compare.result import Comparison
from tracking.report.figures.plots import (
    INK,
    Curve,
    LineStyle,
    chart,
    lines,
    panel,
    plot_style,
    to_svg,
)
from tracking.report.tables import Section, Table, best_of_some
from tracking.report.tuning import draw_expected_best
from tracking.report.wording import (
    endpoint_name,
    number,
    p_value,
    share_ahead,
    short_measure,
    small_p,
    spell_score,
    title,
)
from tracking.stats.profiles import MAX_RATIO

_NO_QUESTION = "None: the sweep asks no question."
_SHAPES = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}
_BY_BOOTSTRAP = (
    "Intervals by a bootstrap of runs within these workloads; of fewer than "
    f"{LEAST_RUNS} runs there is none, since it would be far too narrow. They are unadjusted, for "
    "no look but this one, and decide nothing."
)
_LONGEST = 19  # letters of a candidate's name: the whole one is in the table


def sections(comparison: Comparison, appendix: Appendix) -> tuple[Section, ...]:
    """Return every part, in order."""
    return (
        _shapes(comparison, appendix),
        _max_t(comparison),
        _profile(appendix),
        _mean_ranks(comparison),
        _ahead(comparison, appendix),
        _middle(comparison, appendix),
        _improvement(comparison, appendix),
        _settings(appendix),
    )


def draw(
    comparison: Comparison, appendix: Appendix, styles: Mapping[str, LineStyle]
) -> dict[str, list[str]]:
    """Return the SVGs of each part by its key; `styles` are those of the candidates."""
    return {
        "profile": [_draw_profile(appendix, styles)] if appendix.profile else [],
        "ranks": [
            _draw_ranks(one, endpoint_name(comparison, one.endpoint), styles)
            for one in comparison.rankings
            if one.why is None
        ],
        "tried": _draw_settings(appendix),
    }


def _part(
    key: str, title: str, note: str, caption: str, rows: Sequence[Mapping[str, str]], reason: str
) -> Section:
    """Return a part of one table and its `note`; if there are no rows, the `reason` alone."""
    if not rows:
        return Section(key, title, reason)
    return Section(key, title, note, (Table.of(caption, rows),))


def _shapes(comparison: Comparison, appendix: Appendix) -> Section:
    looks = comparison.looks
    declared = "" if looks is None else _SHAPES[looks.shape]
    rows = [
        {
            "question": title(one.question),
            "endpoint": endpoint_name(comparison, one.endpoint),
            "look": str(one.look),
            "seeds": str(one.seeds),
            "p": small_p(one.p),
            "limit, O'Brien-Fleming": small_p(one.limit_obrien_fleming),
            "limit, Pocock": small_p(one.limit_pocock),
            "p over looks, O'Brien-Fleming": p_value(one.p_obrien_fleming),
            "p over looks, Pocock": p_value(one.p_pocock),
        }
        for one in appendix.shapes
    ]
    return _part(
        "shapes",
        "Limits of looks: Pocock beside O'Brien and Fleming",
        f"Agreed on was {declared}, and it alone keeps the level: taking the other because of "
        "what it says here does not. Pocock asks the same at every look, so it stops sooner for "
        "large differences and finds fewer small ones at the last. Limits at Holm's strictest "
        "step; p over looks is the least repeated one so far.",
        "Look by look, both ways",
        rows,
        "None: this study declared one look, at all seeds."
        if looks is None
        else "None yet: no look is complete.",
    )


def _max_t(comparison: Comparison) -> Section:
    rows = [
        {
            "question": title(one.question),
            "endpoint": short_measure(one.measure),
            "p": p_value(one.estimate.p),
            "p adj. of the verdict": p_value(one.p_adjusted),
            "p: max-T": p_value(one.sensitivity.max_t_p),
        }
        for one in comparison.pooled
        if one.sensitivity is not None and one.sensitivity.max_t_p is not None
    ]
    return _part(
        "max_t",
        "Max-T beside Holm",
        "Signs of whole blocks are flipped, so that questions about one candidate keep what they "
        "share, which Holm's method does without. Over the questions of one endpoint only, and "
        "not over looks: no substitute for the adjusted p of the verdicts.",
        "Adjusted p-values",
        rows,
        "None: it adjusts over several questions about one candidate, by the blocks that all of "
        "them have."
        if comparison.questions
        else _NO_QUESTION,
    )


def _profile(appendix: Appendix) -> Section:
    count = len(appendix.profile[0].ratios) if appendix.profile else 0
    rows = [
        {
            "candidate": one.candidate,
            "score": number(one.score, 3),
            "range without a seed": number(None)
            if one.low is None or one.high is None
            else f"{one.low:.3f} to {one.high:.3f}",
            "fastest on": f"{sum(ratio == 1 for _, ratio in one.ratios)} of {count}",
            "reached on": f"{sum(ratio < math.inf for _, ratio in one.ratios)} of {count}",
        }
        for one in appendix.profile
    ]
    return _part(
        "profile",
        "Performance profile",
        "On what share of the workloads a candidate's median steps to the target are within a "
        "factor of the fewest (Dolan and Moré 2002). Score: the area from 1 to 4 by its exact "
        f"integral, 1 at best, over {quantity(count, 'workload')}; range: one seed left out at a "
        "time, which is no interval. It depends on who else is compared.",
        "Scores",
        rows,
        f"None: {appendix.no_profile}.",
    )


def _draw_profile(appendix: Appendix, styles: Mapping[str, LineStyle]) -> str:
    curves = []
    for one in appendix.profile:
        ratios = sorted(ratio for _, ratio in one.ratios if ratio <= MAX_RATIO)
        count = len(one.ratios)
        share = [(ratio, 100 * k / count) for k, ratio in enumerate(ratios, 1)]
        start = (1.0, 100 * sum(ratio <= 1 for ratio in ratios) / count)
        end = (MAX_RATIO, 100 * len(ratios) / count)
        curves.append(Curve(one.candidate, [start, *share, end], styles[one.candidate], True))
    areas = "; ".join(f"{one.candidate} {one.score:.3f}" for one in appendix.profile)
    return chart(
        curves,
        name="profile",
        title="Performance profile",
        x="times the fewest steps",
        y="% of workloads",
        description=f"Performance profile, areas: {areas}",
    )


def _mean_ranks(comparison: Comparison) -> Section:
    heading = "Mean ranks over data sets"
    ranked = [one for one in comparison.rankings if one.why is None]
    if not ranked:
        why = comparison.rankings[0].why if comparison.rankings else "nothing was compared"
        return Section("ranks", heading, f"None: {why}.")
    note = (
        "An illustration that depends on the pool of candidates (Demšar 2006; Benavoli et al. "
        "2016). Bars join candidates that the exact Wilcoxon test over data sets, by Holm over "
        "all pairs, does not tell apart, which is not to say that they are alike. Above: by how "
        "much two mean ranks must differ by Nemenyi's test."
    )
    floor = ranked[0].least_p
    if floor is not None and floor > comparison.alpha:
        note += (
            f" With {len(ranked[0].data_sets)} data sets and so many pairs no p-value can be "
            f"below {floor:.2g}: nobody can be told apart."
        )
    tests = [_friedman(comparison, one) for one in ranked]
    header = ("candidate", *(f"by {endpoint_name(comparison, one.endpoint)}" for one in ranked))
    ranks = tuple(
        (name, *(number(one.mean_ranks[one.candidates.index(name)]) for one in ranked))
        for name in ranked[0].candidates
    )
    tables = Table.of("Are all candidates alike?", tests), Table("Mean ranks", header, ranks)
    return Section("ranks", heading, note, tables)


def _friedman(comparison: Comparison, ranking: Ranking) -> Mapping[str, str]:
    tested = ranking.friedman
    assert tested is not None
    return {
        "endpoint": endpoint_name(comparison, ranking.endpoint),
        "data sets": str(len(ranking.data_sets)),
        "Friedman χ²": number(tested.chi2),
        "p": p_value(tested.p),
        "F": number(tested.f),
        "p of F": p_value(tested.p_f),
        "critical difference": number(ranking.critical_difference),
    }


@plot_style()
def _draw_ranks(one: Ranking, endpoint: str, styles: Mapping[str, LineStyle]) -> str:
    """Draw a row a candidate, a dot at its mean rank, and bars beside those not told apart."""
    k = len(one.candidates)
    figure, axes = panel("", "", "", height=0.7 + 0.21 * (k + 1))
    # Over the names as well: beside them there is little room.
    figure.suptitle(f"Mean ranks by {endpoint}", x=0.01, horizontalalignment="left")
    rows = [n if len(n) <= _LONGEST else n[: _LONGEST - 1] + "…" for n in one.candidates]
    for row, (name, rank) in enumerate(zip(one.candidates, one.mean_ranks, strict=True)):
        axes.plot([1, rank], [row, row], linewidth=1, **styles[name])
        axes.plot(rank, row, "o", color=styles[name]["color"], markersize=6)
    if one.critical_difference is not None:
        rows.append(f"CD {one.critical_difference:.2f} (Nemenyi)")
        axes.plot([1, 1 + min(k - 1, one.critical_difference)], [k, k], color=INK, linewidth=2)
    for place, run in enumerate(one.cliques or ()):
        ends = [run[0] - 0.35, run[-1] + 0.35]
        beside = [1.03 + 0.025 * place] * 2  # shares of the width
        across = axes.get_yaxis_transform()
        axes.plot(beside, ends, color=INK, linewidth=2.6, transform=across, clip_on=False)
    axes.set(xlim=(1 - 0.03 * (k - 1), k + 0.03 * (k - 1)), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(1, k + 1))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines[:].set_visible(False)
    ranks = "; ".join(f"{n} {r:.2f}" for n, r in zip(one.candidates, one.mean_ranks, strict=True))
    described = f"Critical-difference diagram, mean ranks by {endpoint}: {ranks}"
    return to_svg(figure, f"ranks/{endpoint}", described)


def _ahead(comparison: Comparison, appendix: Appendix) -> Section:
    rows = [
        {
            "question": title(one.question),
            "endpoint": endpoint_name(comparison, one.endpoint),
            "ahead": f"{one.share.wins:g} of {one.share.n}",
            "P(ahead) [95% CI]": share_ahead(one.share),
        }
        for one in appendix.ahead
    ]
    return _part(
        "ahead",
        "How often ahead: P(candidate > baseline)",
        "Over all paired blocks of these workloads, a tie one half; 95% interval of Clopper and "
        "Pearson, for one row, unadjusted and for no look but this one. How often, not by how "
        "much.",
        "Blocks",
        rows,
        "None: there is no pair." if comparison.questions else _NO_QUESTION,
    )


def _middle(comparison: Comparison, appendix: Appendix) -> Section:
    found = appendix.aggregates
    rows = [
        {
            "endpoint": endpoint_name(comparison, one.endpoint),
            "candidate": one.candidate,
            "runs": f"{one.runs} on {quantity(one.workloads, 'workload')}",
            "interquartile mean": _score(one.value, one.in_points),
            "95% interval": _between(one, one.in_points),
        }
        for one in found.middle
    ]
    left_out = "; ".join(f"{endpoint_name(comparison, one)}: {why}" for one, why in found.why)
    return _part(
        "middle",
        "Interquartile means",
        "The mean of the middle half of all runs of all workloads, in percent or the unit of the "
        f"metric (Agarwal et al. 2021). {_BY_BOOTSTRAP}"
        + f" None of {left_out}."
        * bool(left_out),
        "Scores",
        rows,
        f"None of {left_out}." if left_out else "None: there is no answer yet.",
    )


def _improvement(comparison: Comparison, appendix: Appendix) -> Section:
    rows = [
        {
            "question": title(one.question),
            "endpoint": endpoint_name(comparison, one.endpoint),
            "runs of each": f"{one.runs} on {quantity(one.workloads, 'workload')}",
            "probability": number(one.probability),
            "95% interval": number(None)
            if one.low is None or one.high is None
            else f"[{one.low:.2f}, {one.high:.2f}]",
        }
        for one in appendix.aggregates.improvement
    ]
    return _part(
        "improvement",
        "Probability of improvement",
        "How likely some run of the candidate is ahead of some run of the baseline, seeds not "
        "paired: Mann and Whitney's U as a share of all pairs, averaged over workloads (Agarwal "
        "et al. 2021). P(candidate > baseline) above is of pairs, and another number. "
        f"{_BY_BOOTSTRAP}",
        "Probabilities",
        rows,
        "None: no block has a result of every candidate."
        if comparison.questions
        else _NO_QUESTION,
    )


def _score(value: float | None, in_points: bool) -> str:
    return number(value) if in_points else spell_score(value)


def _between(one: MiddleScore, in_points: bool) -> str:
    if one.low is None:
        return number(None)
    return f"[{_score(one.low, in_points)}, {_score(one.high, in_points)}]"


def _settings(appendix: Appendix) -> Section:
    rows = [
        {
            "workload": one.workload,
            "optimizer": one.optimizer,
            "metric": one.metric + ", %" * one.in_points,
            "seeds": str(one.seeds),
            "settings": str(one.settings),
            **best_of_some(one.expected),
        }
        for one in appendix.tried
    ]
    return _part(
        "tried",
        "Expected best of k settings",
        "What the best of k settings of an optimizer, drawn from those that were tried, is "
        "expected to reach, by the last value of the curve that tuning may look at (unbiased; "
        "Dodge et al. 2019, Tang et al. 2020). It holds for these settings, however they came to "
        "be chosen.",
        "Expected best",
        rows,
        "None: no optimizer has three settings with results on shared seeds.",
    )


def _draw_settings(appendix: Appendix) -> list[str]:
    styles = lines(list(dict.fromkeys(one.optimizer for one in appendix.tried)))
    drawn = []
    for workload in dict.fromkeys(one.workload for one in appendix.tried):
        tried = [one for one in appendix.tried if one.workload == workload]
        metric = tried[0].metric + ", %" * tried[0].in_points
        expected = {one.optimizer: one.expected for one in tried}
        drawn.append(draw_expected_best(workload, workload, metric, expected, styles))
    return drawn
