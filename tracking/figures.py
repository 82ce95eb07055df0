"""The figures of the report as SVG text: learning curves and forest plots.

No pyplot, no global state; what a figure shows has been computed elsewhere, except the pointwise
mean and band of a curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from scipy import special

from tracking.comparison import Comparison, Difference
from tracking.outcomes import Outcome
from tracking.svg import to_svg
from tracking.wording import MEASURES, interval, scope, signed, title

# Okabe and Ito (2008): told apart by the colour-blind; yellow is left out, too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_DASHES = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.2, 1.2)))
_INK, _QUIET = "#1a1a1a", "#6b7280"

_STYLE: dict[Any, Any] = {  # matplotlib types the keys one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Line:
    """How a candidate is drawn, on every figure alike."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]


def lines(candidates: Sequence[str]) -> dict[str, Line]:
    """Give every candidate a colour and a dash pattern; their pair repeats after 28."""
    return {
        name: Line(_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)])
        for i, name in enumerate(candidates)
    }


def learning_curve(
    workload: str, outcomes: Sequence[Outcome], metric: str, styles: Mapping[str, Line]
) -> str:
    """Draw `metric` against training samples seen, of all trials that have a result.

    Thin: single seeds, a cross where one diverged. Thick: the mean with a pointwise 95% t band,
    as far as every seed has a value. Accuracies are drawn in percent, losses as they are.
    """
    arms = {
        name: [one for one in outcomes if one.has_result and one.trial.candidate.name == name]
        for name in styles
    }
    arms = {name: trials for name, trials in arms.items() if trials}
    accuracy = metric.endswith("accuracy")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.9, 2.5 + 0.19 * ((len(arms) + 1) // 2)))
        axes = figure.add_subplot()
        axes.grid(axis="y", color="#e5e7eb", linewidth=0.7)
        for name, trials in arms.items():
            _draw_arm(axes, name, trials, metric, 100.0 if accuracy else 1.0, styles[name])
        axes.set_title(workload)
        axes.set_xlabel("training samples seen")
        axes.set_ylabel(f"{metric.replace('_', ' ')}{', %' if accuracy else ''}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(left=0)
        if not accuracy and _spans_decades(axes):
            axes.set_yscale("log")
        if arms:
            figure.legend(loc="outside lower center", ncols=2, handlelength=2.6)
        names = ", ".join(f"{name}, {len(trials)} seeds" for name, trials in arms.items())
        described = f"{metric.replace('_', ' ')} on {workload} against samples seen: {names}"
        return to_svg(figure, f"{workload}/{metric}", described)


def forest(rows: Sequence[Difference], comparison: Comparison, styles: Mapping[str, Line]) -> str:
    """Draw the rows of one question and endpoint: workloads as squares, pooled as a diamond.

    The shaded band is the ROPE. A row without an interval has its mean alone, or nothing.
    """
    first = rows[0]
    colour = styles[first.question.candidate].colour
    ordered = [*rows[1:], rows[0]]  # the pooled answer goes below what it is made of
    height = len(ordered)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.9, 1.2 + 0.32 * height))
        axes = figure.add_subplot()
        rope = comparison.rope_pp
        axes.axvspan(-rope, rope, color="#e5e7eb", linewidth=0, zorder=0)
        axes.axvline(0, color=_QUIET, linewidth=0.8, zorder=1)
        for y, one in enumerate(reversed(ordered)):
            _draw_row(axes, y, one, colour)
        axes.set_yticks(range(height), [scope(one, comparison) for one in reversed(ordered)])
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.set_ylim(-0.7, height - 0.3)
        axes.margins(x=0.06)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(title(first.question))
        favoured = f"{first.question.baseline} ahead ← pp → {first.question.candidate} ahead"
        axes.set_xlabel(f"Δ {MEASURES[first.measure]}\n{favoured}")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        described = f"Forest plot of {title(first.question)}, {MEASURES[first.measure]}: " + (
            "; ".join(
                f"{scope(one, comparison)} {signed(one.estimate.mean)} {interval(one.estimate)}"
                for one in rows
            )
        )
        name = f"{title(first.question)}/{first.endpoint}"
        return to_svg(figure, name, described)


def _draw_arm(
    axes: Axes, name: str, trials: Sequence[Outcome], metric: str, unit: float, style: Line
) -> None:
    curves = [_finite_part(trial, metric, unit) for trial in trials]
    for trial, (x, y) in zip(trials, curves, strict=True):
        axes.plot(x, y, color=style.colour, linewidth=0.6, alpha=0.35)
        if trial.state == "diverged" and len(x):
            axes.plot(x[-1], y[-1], "x", color=style.colour, markersize=6, markeredgewidth=1.5)
    shared = sorted(set.intersection(*(set(x.tolist()) for x, _ in curves)))
    values = np.array([y[np.isin(x, shared)] for x, y in curves])  # (n_seeds, n_points)
    mean = values.mean(axis=0)
    label = f"{name} (n = {len(trials)})"
    axes.plot(shared, mean, color=style.colour, linestyle=style.dashes, linewidth=1.8, label=label)
    if len(trials) > 1:
        n = len(trials)
        half = special.stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / n**0.5
        axes.fill_between(
            shared, mean - half, mean + half, color=style.colour, alpha=0.14, linewidth=0
        )


def _finite_part(
    trial: Outcome, metric: str, unit: float
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Return samples and values up to the first value that is not finite."""
    points = [(p.samples, unit * p.metrics[metric]) for p in trial.curve if metric in p.metrics]
    values = np.array(points, dtype=np.float64).reshape(-1, 2)
    bad = np.flatnonzero(~np.isfinite(values[:, 1]))
    kept = values[: bad[0]] if len(bad) else values
    return kept[:, 0], kept[:, 1]


def _draw_row(axes: Axes, y: int, one: Difference, colour: str) -> None:
    estimate = one.estimate
    if estimate.mean is None:
        return
    label = f"{signed(estimate.mean)} {interval(estimate)}".strip()
    axes.annotate(
        label,
        (1.01, y),
        xycoords=("axes fraction", "data"),
        verticalalignment="center",
        fontsize=8.5,
        fontweight="bold" if one.workload is None else "normal",
    )
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        axes.plot(estimate.mean, y, "o", markerfacecolor="white", color=colour, markersize=5)
    elif one.workload is None:
        corners = [(low, y), (estimate.mean, y + 0.26), (high, y), (estimate.mean, y - 0.26)]
        axes.fill(*zip(*corners, strict=True), color=colour, linewidth=0.8, zorder=3)
    else:
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot(estimate.mean, y, "s", color=colour, markersize=5.5, zorder=3)


def _spans_decades(axes: Axes) -> bool:
    drawn = [value for line in axes.lines for value in np.asarray(line.get_ydata(), dtype=float)]
    return bool(drawn) and min(drawn) > 0 and max(drawn) > 10 * min(drawn)
