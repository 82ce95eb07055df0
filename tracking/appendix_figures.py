"""The drawings of the appendix, section by section. Computes nothing but where things are."""

from collections.abc import Mapping, Sequence

from tracking.appendix import Appendix
from tracking.chart import WIDTH, Axes, Curve, chart, drawing, stroke, text
from tracking.comparison import Comparison
from tracking.figures import INK, QUIET, Line, lines
from tracking.performance_profile import MAX_RATIO
from tracking.pool_text import endpoint_words
from tracking.ranking import Ranking

_BAR, _QUIET, _GRID = (Line(colour, "-") for colour in (INK, QUIET, "#e5e7eb"))
_ROW, _LONGEST = 15, 19  # points a candidate, letters of its name: the whole one is in the table


def drawings(
    comparison: Comparison, found: Appendix, styles: Mapping[str, Line]
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


def _profile(found: Appendix, styles: Mapping[str, Line]) -> str:
    curves = []
    for one in found.profile:
        ratios = sorted(ratio for _, ratio in one.ratios if ratio <= MAX_RATIO)
        count = len(one.ratios)
        share = [(ratio, 100 * k / count) for k, ratio in enumerate(ratios, 1)]
        start = (1.0, 100 * sum(ratio <= 1 for ratio in ratios) / count)
        end = (MAX_RATIO, 100 * len(ratios) / count)
        curves.append(Curve(one.candidate, [start, *share, end], styles[one.candidate], True))
    axes = Axes("Performance profile", "times the fewest steps", "% of workloads", (0, 100))
    said = "; ".join(f"{one.candidate} {one.score:.3f}" for one in found.profile)
    return chart(axes, curves, f"Performance profile, areas: {said}")


def _ranks(one: Ranking, endpoint: str, styles: Mapping[str, Line]) -> str:
    """Draw a row a candidate, a dot at its mean rank, and bars beside those not told apart."""
    k, bars = len(one.candidates), one.cliques or ()
    left, right, top = 112.0, WIDTH - 14.0 - 6 * len(bars), 46.0
    bottom = top + _ROW * k

    def x(rank: float) -> float:
        return left + (rank - 1) / (k - 1) * (right - left)

    body = [text(4, 13, f"Mean ranks by {endpoint}", size=10.5, bold=True)]
    if one.critical_difference is not None:
        width = min(float(k - 1), one.critical_difference)
        body.append(stroke([(x(1), 24), (x(1 + width), 24)], _QUIET, 2))
        body.append(text(4, 27, f"CD {one.critical_difference:.2f} (Nemenyi)", 8))
    for tick in range(1, k + 1):
        body.append(stroke([(x(tick), top - 4), (x(tick), bottom)], _GRID, 0.8))
        body.append(text(x(tick), top - 7, str(tick), 8, anchor="middle"))
    for row, (name, rank) in enumerate(zip(one.candidates, one.mean_ranks, strict=True)):
        y = top + _ROW * (row + 0.5)
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        body.append(text(4, y + 3, short))
        body.append(stroke([(left, y), (x(rank), y)], styles[name], 1))
        body.append(
            f'<circle cx="{x(rank):.1f}" cy="{y:.1f}" r="3.2" fill="{styles[name].colour}"/>'
        )
    for place, run in enumerate(bars):
        at = right + 10 + 6 * place
        ends = [(at, top + _ROW * run[0] + 2), (at, top + _ROW * (run[-1] + 1) - 2)]
        body.append(stroke(ends, _BAR, 2.6))
    said = "; ".join(f"{n} {r:.2f}" for n, r in zip(one.candidates, one.mean_ranks, strict=True))
    described = f"Critical-difference diagram, mean ranks by {endpoint}: {said}"
    return drawing(WIDTH, bottom + 4, body, described)


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
        axes = Axes(workload, "settings tried", of[0].metric + unit)
        described = f"Expected best of k settings on {workload}, of all: {said}"
        drawn.append(chart(axes, curves, described))
    return drawn
