"""Forest plots: the differences of one question and endpoint, workloads and pooled, as SVG text.

Shows what `compare` found; computes nothing.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tracking.compare.result import Comparison, Difference
from tracking.report.figures.plots import GRID, QUIET, LineStyle, plot_style, to_svg
from tracking.report.wording import difference, measure, scope, title

_WIDEST, _WIDEST_HEADING = 60, 32  # letters below the axis, and above it


def draw(comparison: Comparison, styles: Mapping[str, LineStyle]) -> list[str]:
    """Return a plot for each answered question and endpoint, or for each unit of several."""
    return [
        forest_plot(rows, comparison, styles)
        for question in comparison.questions
        if not comparison.is_open(question)
        for endpoint in comparison.endpoints
        for rows in _by_unit(comparison.rows(question, endpoint))
    ]


def _by_unit(rows: Sequence[Difference]) -> list[tuple[Difference, ...]]:
    """Return what one plot can hold: everything, or the single workloads of one unit each."""
    if "mixed units" not in rows[0].flags:
        return [tuple(rows)]
    groups: dict[tuple[str, bool], list[Difference]] = {}
    for one in rows[1:]:
        groups.setdefault((one.unit, one.lower_is_better), []).append(one)
    return [tuple(group) for group in groups.values()]


@plot_style()
def forest_plot(
    rows: Sequence[Difference], comparison: Comparison, styles: Mapping[str, LineStyle]
) -> str:
    """Draw the rows of one question and endpoint: workloads as squares, pooled as a diamond.

    All rows have one unit. The shaded band is the margin, if the endpoint has one. A row without
    an interval has its mean alone, or nothing.
    """
    first = rows[0]
    colour = styles[first.question.candidate]["color"]
    upwards = [rows[0], *reversed(rows[1:])]  # the pooled answer goes below what it is made of
    height = len(rows)
    heading = textwrap.fill(title(first.question), _WIDEST_HEADING)
    figure = Figure(figsize=(4.9, 1.2 + 0.32 * height + 0.18 * heading.count("\n")))
    axes = figure.add_subplot()
    axes.grid(visible=False)
    margin = comparison.margin(first)
    if margin is not None:
        axes.axvspan(-margin, margin, color=GRID, linewidth=0, zorder=0)
    axes.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
    for y, one in enumerate(upwards):
        _draw_row(axes, y, one, colour)
    axes.set_yticks(range(height), [scope(one, comparison) for one in upwards])
    if first.workload is None:
        axes.get_yticklabels()[0].set_fontweight("bold")
    axes.margins(x=0.06)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    favoured = f"{first.question.baseline} ahead ← {first.unit} → {first.question.candidate} ahead"
    if len(favoured) > _WIDEST:
        favoured = favoured.replace(f" {first.unit} →", f" {first.unit}\n→", 1)
    label = f"Δ {measure(first.measure)}\n{favoured}"
    axes.set(title=heading, xlabel=label, ylim=(-0.7, height - 0.3))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    read_out = "; ".join(
        f"{scope(one, comparison)} {difference(one.estimate, one.unit)}" for one in rows
    )
    described = f"Forest plot of {title(first.question)}, {measure(first.measure)}: {read_out}"
    name = f"{title(first.question)}/{first.endpoint.name}"
    if first.workload is not None:  # one of several, by unit
        name += f"/{first.workload}"
    return to_svg(figure, name, described)


def _draw_row(axes: Axes, y: int, one: Difference, colour: str) -> None:
    estimate = one.estimate
    if estimate.mean is None:
        return
    axes.annotate(
        difference(estimate, one.unit),
        (1.01, y),
        xycoords=("axes fraction", "data"),
        verticalalignment="center",
        fontsize=8.5,
        fontweight="bold" if one.workload is None else "normal",
    )
    low, high = estimate.low, estimate.high
    if low is not None and high == math.inf:  # a one-sided interval has no upper end
        axes.plot([low, estimate.mean], [y, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot(estimate.mean, y, ">", color=colour, markersize=6, zorder=3)
    elif low is None or high is None:
        axes.plot(estimate.mean, y, "o", markerfacecolor="white", color=colour, markersize=5)
    elif one.workload is None:
        corners = [(low, y), (estimate.mean, y + 0.26), (high, y), (estimate.mean, y - 0.26)]
        axes.fill(*zip(*corners, strict=True), color=colour, linewidth=0.8, zorder=3)
    else:
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot(estimate.mean, y, "s", color=colour, markersize=5.5, zorder=3)
