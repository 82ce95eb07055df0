"""Draws what trials logged while they trained: learning curves, and the mean gates of layers.

Each figure is SVG text. Means and pointwise bands are computed here; no verdict rests on them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy import special

from jobs.contract.quantities import quantity
from tracking.compare.endpoints import curve_metric
from tracking.compare.result import Comparison
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.report.figures.plots import (
    QUIET,
    LineStyle,
    add_legend,
    count_from_zero,
    panel,
    plot_style,
    to_svg,
)

MOST_THIN = 20  # seeds; more would be a grey area that takes long to draw

_MOST_NAMED = 8  # layers; of more, the legend names the first, the middle and the last
_LIGHTEST = 0.88  # of the colour map; what comes after is too pale on white
_LOSS = "train_loss"

_Values = np.ndarray[tuple[int], np.dtype[np.float64]]
_Curve = tuple[_Values, _Values]  # places on the axis and values, (n_points,) each
_GateCurve = tuple[list[int], _Values]  # steps, and the mean gate at each
_Axis = Literal["samples", "epoch", "step"]

# What is best to compare by, first; the user's own training may know its steps alone.
_AXES: Mapping[_Axis, str] = {
    "samples": "training samples seen",
    "epoch": "epochs",
    "step": "steps",
}


def draw(
    comparison: Comparison, outcomes: Sequence[Outcome], styles: Mapping[str, LineStyle]
) -> dict[str, list[str]]:
    """Return the panels of learning curves, training losses and gates, workload by workload.

    If the compared metric is the training loss, it is not drawn a second time.
    """
    drawn: dict[str, list[str]] = {"curves": [], "losses": [], "gates": []}
    for workload in (one.name for one in comparison.workloads):
        trials = [one for one in outcomes if one.trial.workload.name == workload]
        drawn["gates"] += gate_curves(workload, trials)
        if not any(one.has_result for one in trials):
            continue
        metric = curve_metric(trials[0].trial.workload)
        bands = not comparison.any_open  # before that, nothing says how sure a mean is
        drawn["curves"].append(learning_curve(workload, trials, metric, styles, bands))
        logs_loss = any(_LOSS in point.metrics for one in trials for point in one.curve)
        if metric != _LOSS and logs_loss:
            drawn["losses"].append(learning_curve(workload, trials, _LOSS, styles, bands))
    return drawn


@plot_style()
def learning_curve(
    workload: str,
    outcomes: Sequence[Outcome],
    metric: str,
    styles: Mapping[str, LineStyle],
    bands: bool = True,
) -> str:
    """Draw `metric` against training samples seen, of all trials that have a result.

    If a trial does not know its samples, all are drawn against epochs, or else against steps.
    `outcomes` has one trial of the workload or more.

    Thin: single seeds, the first `MOST_THIN` of each candidate, a cross where one diverged. Thick:
    the mean, with a pointwise 95% t band if `bands`, as far as every seed has a value. Dashed,
    across: the target, if one is declared. Shares are drawn in percent; other metrics that span
    more than a factor of ten on a logarithmic axis, with the mean and band of their logarithms.
    """
    arms = {
        name: trials
        for name in styles
        if (trials := [o for o in outcomes if o.has_result and o.trial.candidate.name == name])
    }
    spec = outcomes[0].trial.workload.metric_spec
    scale = Scale.of(spec) if metric in (spec.metric, spec.final_metric) else None
    is_share, factor = (scale.in_points, scale.factor) if scale else (False, 1.0)
    axis = _axis([trial for trials in arms.values() for trial in trials], metric)
    curves = {
        name: [_finite_part(trial, metric, axis, factor) for trial in trials]
        for name, trials in arms.items()
    }
    logarithmic = not is_share and _spans_decades(curves)
    metric_name = metric.replace("_", " ")
    figure, axes = panel(workload, _AXES[axis], metric_name + ", %" * is_share)
    for name, trials in arms.items():
        _draw_arm(axes, name, trials, curves[name], styles[name], logarithmic, bands)
    if metric == spec.metric and spec.target is not None:
        axes.axhline(factor * spec.target, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    _set_axes(axes, logarithmic, is_share and bool(arms))
    if arms:
        add_legend(figure)
    names = ", ".join(f"{name}, {quantity(len(trials), 'seed')}" for name, trials in arms.items())
    described = f"{metric_name} on {workload} against {_AXES[axis]}: {names}"
    return to_svg(figure, f"{workload}/{metric}", described)


def _set_axes(axes: Axes, logarithmic: bool, in_percent: bool) -> None:
    count_from_zero(axes)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if in_percent:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))  # no band makes an accuracy of 110 %


def _draw_arm(
    axes: Axes,
    name: str,
    trials: Sequence[Outcome],
    curves: Sequence[_Curve],
    style: LineStyle,
    logarithmic: bool,
    bands: bool,
) -> None:
    """Draw the seeds of a candidate, a cross for each that diverged, and their mean."""
    # One line with gaps: a line for each seed would take most of the time of a page.
    gap = (np.array([np.nan]),) * 2
    thin = [part for curve in curves[:MOST_THIN] for part in (curve, gap)]
    x, y = (np.concatenate([part[axis] for part in thin]) for axis in (0, 1))
    axes.plot(x, y, color=style["color"], linewidth=0.6, alpha=0.35)
    for trial, (x, y) in zip(trials, curves, strict=True):
        if trial.state == "diverged" and len(x):
            axes.plot(x[-1], y[-1], "x", color=style["color"], markersize=6, markeredgewidth=1.5)
    _draw_mean(axes, f"{name} (n = {len(trials)})", curves, style, logarithmic, bands)


def _draw_mean(
    axes: Axes,
    label: str,
    curves: Sequence[_Curve],
    style: LineStyle,
    logarithmic: bool,
    bands: bool,
) -> None:
    """Draw the mean at the places that all seeds have, if asked with its band (two or more)."""
    shared = sorted(set.intersection(*(set(x.tolist()) for x, _ in curves)))
    values = np.array([y[np.isin(x, shared)] for x, y in curves])  # (n_seeds, n_points)
    forth, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    values = forth(values)
    mean = values.mean(axis=0)
    axes.plot(shared, back(mean), linewidth=1.8, label=label, **style)
    n = len(curves)
    if n > 1 and bands:
        half = special.stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / n**0.5
        band = back(mean - half), back(mean + half)
        axes.fill_between(shared, *band, color=style["color"], alpha=0.14, linewidth=0)


def _axis(trials: Sequence[Outcome], metric: str) -> _Axis:
    """Return the first axis on which every point of every trial has a place of its own."""
    for axis in _AXES:
        places = [[getattr(p, axis) for p in one.curve if metric in p.metrics] for one in trials]
        if all(None not in each and len(set(each)) == len(each) for each in places):
            return axis
    return "step"


def _finite_part(trial: Outcome, metric: str, axis: _Axis, factor: float) -> _Curve:
    """Return places on the axis and values up to the first value that is not finite."""
    points = [
        (getattr(p, axis), factor * p.metrics[metric]) for p in trial.curve if metric in p.metrics
    ]
    values = np.array(points, dtype=np.float64).reshape(-1, 2)
    kept = values[np.logical_and.accumulate(np.isfinite(values[:, 1]))]
    return kept[:, 0], kept[:, 1]


def _spans_decades(curves: Mapping[str, Sequence[_Curve]]) -> bool:
    drawn = [value for arm in curves.values() for _, values in arm for value in values]
    return bool(drawn and min(drawn) > 0 and max(drawn) > 10 * min(drawn))


def gate_curves(workload: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Draw a panel for each candidate whose trials logged the gates of their layers.

    A panel has a line for each layer: the mean over the trials with a result, at the steps that
    all of them logged.
    """
    by_candidate: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.has_result and one.layers:
            by_candidate.setdefault(one.trial.candidate.name, []).append(one)
    return [
        _draw_gates(workload, name, len(trials), layers)
        for name, trials in by_candidate.items()
        if (layers := mean_gates(trials))
    ]


@plot_style()
def _draw_gates(workload: str, candidate: str, seeds: int, drawn: Mapping[str, _GateCurve]) -> str:
    named = list(drawn)
    if len(named) > _MOST_NAMED:
        named = [named[0], named[len(named) // 2], named[-1]]
    colours = mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, len(drawn)))
    figure, axes = panel(f"{workload}, {candidate}", "steps", "mean gate")
    for (layer, (steps, gates)), colour in zip(drawn.items(), colours, strict=True):
        label = layer if layer in named else None
        axes.plot(steps, gates, color=colour, linewidth=1.0, label=label)
    count_from_zero(axes, integer=True)
    axes.set_ylim(0, 1)
    add_legend(figure)
    described = f"mean gate of {len(drawn)} layers against steps: {candidate} on {workload}"
    return to_svg(figure, f"{workload}/{candidate}/gates", f"{described}, n = {seeds}")


def mean_gates(trials: Sequence[Outcome]) -> Mapping[str, _GateCurve]:
    """Return the mean gate of each layer over the trials, in the order of the model.

    Steps that a trial lacks are left out, and so are layers without a step.
    """
    shared = sorted(set.intersection(*(set(one.layers) for one in trials)))
    logged = (layers for one in trials for layers in one.layers.values())
    means: dict[str, _GateCurve] = {}
    for layer in dict.fromkeys(name for layers in logged for name in layers):
        steps = [step for step in shared if all(layer in one.layers[step] for one in trials)]
        gates = [[one.layers[step][layer]["gate"] for one in trials] for step in steps]
        if steps:
            means[layer] = steps, np.array(gates, dtype=np.float64).mean(axis=1)
    return means
