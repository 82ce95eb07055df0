"""The appendix: other methods on the same numbers, each a part with its words, table and drawing.

A part that is empty says why. Decides nothing: no verdict is made from anything here.
"""

from collections.abc import Mapping

from tracking.compare.appendix import Appendix
from tracking.compare.rankings import Ranking
from tracking.compare.result import Comparison
from tracking.report.plots import INK, Curve, LineStyle, Words, chart, lines, panel, styled, to_svg
from tracking.report.tables import Section, Table, best_of_some
from tracking.report.wording import (
    endpoint_name,
    number,
    p_value,
    share_ahead,
    short_measure,
    small_p,
    title,
)
from tracking.stats.profiles import MAX_RATIO

_NO_QUESTION = "None: the sweep asks no question."
_SHAPES = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}
_LONGEST = 19  # letters of a candidate's name: the whole one is in the table


def sections(comparison: Comparison, found: Appendix) -> tuple[Section, ...]:
    """Return every part, in order."""
    return (
        _shapes(comparison, found),
        _max_t(comparison),
        _profile(found),
        _mean_ranks(comparison),
        _ahead(comparison, found),
        _settings(found),
    )


def draw(
    comparison: Comparison, found: Appendix, styles: Mapping[str, LineStyle]
) -> dict[str, list[str]]:
    """Return the SVGs of each part by its key; `styles` are those of the candidates."""
    return {
        "profile": [_draw_profile(found, styles)] if found.profile else [],
        "ranks": [
            _draw_ranks(one, endpoint_name(comparison, one.endpoint), styles)
            for one in comparison.rankings
            if one.why is None
        ],
        "tried": _draw_settings(found),
    }


def _shapes(comparison: Comparison, found: Appendix) -> Section:
    heading = "Limits of looks: Pocock beside O'Brien and Fleming"
    if comparison.looks is None:
        return Section("shapes", heading, "None: this study declared one look, at all seeds.")
    if not found.shapes:
        return Section("shapes", heading, "None yet: no look is complete.")
    agreed = _SHAPES[comparison.looks.shape]
    note = (
        f"Agreed on was {agreed}, and it alone keeps the level: taking the other because of what "
        "it says here does not. Pocock asks the same at every look, so it stops sooner for large "
        "differences and finds fewer small ones at the last. Limits at Holm's strictest step; p "
        "over looks is the least repeated one so far."
    )
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
        for one in found.shapes
    ]
    return Section("shapes", heading, note, (Table.of("Look by look, both ways", rows),))


def _max_t(comparison: Comparison) -> Section:
    heading = "Max-T beside Holm"
    tested = [
        (one, one.sensitivity.max_t_p)
        for one in comparison.pooled
        if one.sensitivity is not None and one.sensitivity.max_t_p is not None
    ]
    if not tested:
        why = (
            "None: it adjusts over several questions about one candidate, by the blocks that all "
            "of them have."
        )
        return Section("max_t", heading, why if comparison.questions else _NO_QUESTION)
    note = (
        "Signs of whole blocks are flipped, so that questions about one candidate keep what they "
        "share, which Holm's method does without. Over the questions of one endpoint only, and "
        "not over looks: no substitute for the adjusted p of the verdicts."
    )
    rows = tuple(
        (
            title(one.question),
            short_measure(one),
            p_value(one.estimate.p),
            p_value(one.p_adjusted),
            p_value(p),
        )
        for one, p in tested
    )
    header = ("question", "endpoint", "p", "p adj. of the verdict", "p: max-T")
    return Section("max_t", heading, note, (Table("Adjusted p-values", header, rows),))


def _profile(found: Appendix) -> Section:
    heading = "Performance profile"
    if not found.profile:
        return Section("profile", heading, f"None: {found.no_profile}.")
    count = len(found.profile[0].ratios)
    note = (
        "On what share of the workloads a candidate's median steps to the target are within a "
        "factor of the fewest (Dolan and Moré 2002). Score: the area from 1 to 4 by its exact "
        f"integral, 1 at best, over {count} workload{'s' * (count != 1)}; range: one seed left "
        "out at a time, which is no interval. It depends on who else is compared."
    )
    rows = tuple(
        (
            one.candidate,
            number(one.score, 3),
            number(None)
            if one.low is None or one.high is None
            else f"{one.low:.3f} to {one.high:.3f}",
            f"{sum(ratio == 1 for _, ratio in one.ratios)} of {count}",
            f"{sum(ratio < float('inf') for _, ratio in one.ratios)} of {count}",
        )
        for one in found.profile
    )
    header = ("candidate", "score", "range without a seed", "fastest on", "reached on")
    return Section("profile", heading, note, (Table("Scores", header, rows),))


def _draw_profile(found: Appendix, styles: Mapping[str, LineStyle]) -> str:
    curves = []
    for one in found.profile:
        ratios = sorted(ratio for _, ratio in one.ratios if ratio <= MAX_RATIO)
        count = len(one.ratios)
        share = [(ratio, 100 * k / count) for k, ratio in enumerate(ratios, 1)]
        start = (1.0, 100 * sum(ratio <= 1 for ratio in ratios) / count)
        end = (MAX_RATIO, 100 * len(ratios) / count)
        curves.append(Curve(one.candidate, [start, *share, end], styles[one.candidate], True))
    words = Words("profile", "Performance profile", "times the fewest steps", "% of workloads")
    said = "; ".join(f"{one.candidate} {one.score:.3f}" for one in found.profile)
    return chart(words, curves, f"Performance profile, areas: {said}")


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
        n = len(ranked[0].data_sets)
        note += (
            f" With {n} data sets and so many pairs no p-value can be below {floor:.2g}: nobody "
            "can be told apart."
        )
    header = ("endpoint", "data sets", "Friedman χ²", "p", "F", "p of F", "critical difference")
    tests = tuple(_friedman(comparison, one) for one in ranked)
    places = tuple(
        (name, *(number(one.mean_ranks[one.candidates.index(name)]) for one in ranked))
        for name in ranked[0].candidates
    )
    words = [endpoint_name(comparison, one.endpoint) for one in ranked]
    by_endpoint = ("candidate", *(f"by {word}" for word in words))
    ranks = Table("Mean ranks", by_endpoint, places)
    return Section(
        "ranks", heading, note, (Table("Are all candidates alike?", header, tests), ranks)
    )


def _friedman(comparison: Comparison, one: Ranking) -> tuple[str, ...]:
    tested = one.friedman
    assert tested is not None
    return (
        endpoint_name(comparison, one.endpoint),
        str(len(one.data_sets)),
        number(tested.chi2),
        p_value(tested.p),
        number(tested.f),
        p_value(tested.p_f),
        number(one.critical_difference),
    )


@styled
def _draw_ranks(one: Ranking, endpoint: str, styles: Mapping[str, LineStyle]) -> str:
    """Draw a row a candidate, a dot at its mean rank, and bars beside those not told apart."""
    k = len(one.candidates)
    figure, axes = panel("", "", "", height=0.7 + 0.21 * (k + 1))
    # Over the names as well: beside them there is little room.
    figure.suptitle(f"Mean ranks by {endpoint}", x=0.01, horizontalalignment="left")
    rows = [n if len(n) <= _LONGEST else n[: _LONGEST - 1] + "…" for n in one.candidates]
    for row, (name, rank) in enumerate(zip(one.candidates, one.mean_ranks, strict=True)):
        colour, dashes = styles[name].colour, styles[name].dashes
        axes.plot([1, rank], [row, row], color=colour, linestyle=dashes, linewidth=1)
        axes.plot(rank, row, "o", color=colour, markersize=6)
    if one.critical_difference is not None:
        rows.append(f"CD {one.critical_difference:.2f} (Nemenyi)")
        axes.plot([1, 1 + min(k - 1, one.critical_difference)], [k, k], color=INK, linewidth=2)
    for place, run in enumerate(one.cliques or ()):
        ends = [run[0] - 0.35, run[-1] + 0.35]
        beside = [1.03 + 0.025 * place] * 2  # shares of the width
        across = axes.get_yaxis_transform()
        axes.plot(beside, ends, color=INK, linewidth=2.6, transform=across, clip_on=False)
    axes.set_xlim(1 - 0.03 * (k - 1), k + 0.03 * (k - 1))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(1, k + 1))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines[:].set_visible(False)
    said = "; ".join(f"{n} {r:.2f}" for n, r in zip(one.candidates, one.mean_ranks, strict=True))
    described = f"Critical-difference diagram, mean ranks by {endpoint}: {said}"
    return to_svg(figure, f"ranks/{endpoint}", described)


def _ahead(comparison: Comparison, found: Appendix) -> Section:
    heading = "How often ahead: P(candidate > baseline)"
    if not found.ahead:
        why = "None: there is no pair." if comparison.questions else _NO_QUESTION
        return Section("ahead", heading, why)
    note = (
        "Over all paired blocks of these workloads, a tie one half; 95% interval of Clopper and "
        "Pearson, for one row, unadjusted and for no look but this one. How often, not by how "
        "much."
    )
    rows = tuple(
        (
            title(one.question),
            endpoint_name(comparison, one.endpoint),
            f"{one.share.wins:g} of {one.share.n}",
            share_ahead(one.share),
        )
        for one in found.ahead
    )
    header = ("question", "endpoint", "ahead", "P(ahead) [95% CI]")
    return Section("ahead", heading, note, (Table("Blocks", header, rows),))


def _settings(found: Appendix) -> Section:
    heading = "Expected best of k settings"
    if not found.tried:
        why = "None: no optimizer has three settings with results on shared seeds."
        return Section("tried", heading, why)
    note = (
        "What the best of k settings of an optimizer, drawn from those that were tried, is "
        "expected to reach, by the last value of the curve that tuning may look at (unbiased; "
        "Dodge et al. 2019, Tang et al. 2020). It holds for these settings, however they came to "
        "be chosen."
    )
    rows = [
        {
            "workload": one.workload,
            "optimizer": one.optimizer,
            "metric": one.metric + ", %" * one.in_points,
            "seeds": str(one.seeds),
            "settings": str(one.settings),
            **best_of_some(one.expected),
        }
        for one in found.tried
    ]
    return Section("tried", heading, note, (Table.of("Expected best", rows),))


def _draw_settings(found: Appendix) -> list[str]:
    styles = lines(list(dict.fromkeys(one.optimizer for one in found.tried)))
    drawn = []
    for workload in dict.fromkeys(one.workload for one in found.tried):
        of = [one for one in found.tried if one.workload == workload]
        unit = ", %" if of[0].in_points else ""
        curves = [
            Curve(one.optimizer, list(enumerate(one.expected, 1)), styles[one.optimizer])
            for one in of
        ]
        said = "; ".join(f"{one.optimizer} {one.expected[-1]:.4g}" for one in of)
        words = Words(f"{workload}/tried", workload, "settings tried", of[0].metric + unit)
        described = f"Expected best of k settings on {workload}, of all: {said}"
        drawn.append(chart(words, curves, described))
    return drawn
