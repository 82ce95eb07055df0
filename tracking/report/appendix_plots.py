"""The drawings of the appendix, section by section. Computes nothing but where things are."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl

from tracking.compare.appendix import Appendix
from tracking.compare.rankings import Ranking
from tracking.compare.result import Comparison
from tracking.report.appendix import endpoint_words
from tracking.report.plots import INK, STYLE, Curve, LineStyle, Words, chart, lines, panel, to_svg
from tracking.stats.profiles import MAX_RATIO

_LONGEST = 19  # letters of a candidate's name: the whole one is in the table


def drawings(
    comparison: Comparison, found: Appendix, styles: Mapping[str, LineStyle]
) -> Mapping[str, Sequence[str]]:
    """Return the SVGs of every section by its key; `styles` are those of the candidates."""
    return {
        "profile": [_profile(found, styles)] if found.profile else [],
        "ranks": [
            _ranks(one, endpoint_words(comparison, one.endpoint), styles)
            for one in comparison.rankings
            if one.why is None
        ],
        "tried": _tried(found),
    }


def _profile(found: Appendix, styles: Mapping[str, LineStyle]) -> str:
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


@mpl.rc_context(STYLE)
def _ranks(one: Ranking, endpoint: str, styles: Mapping[str, LineStyle]) -> str:
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


def _tried(found: Appendix) -> list[str]:
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
