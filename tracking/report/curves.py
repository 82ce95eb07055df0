"""Learning curves: a metric against samples, epochs or steps, one panel a workload, as SVG text.

The pointwise mean and band are computed here, and serve the eye alone: no verdict rests on them.

Mean gates of the layers against steps, one panel a workload and candidate, as SVG text.

Draws what the telemetry of trials says, in the order of the model; no verdict rests on it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter
from scipy import special

from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.report.plots import QUIET, STYLE, LineStyle, add_legend, panel, to_svg

MOST_THIN = 20  # seeds; more would be a grey area that takes long to draw

_Values = np.ndarray[tuple[int], np.dtype[np.float64]]
_Curve = tuple[_Values, _Values]  # where and what was measured, (n_points,) each
_Axis = Literal["samples", "epoch", "step"]

# What is best to compare by, first; the user's own training may know its steps alone.
_AXES: Mapping[_Axis, str] = {
    "samples": "training samples seen",
    "epoch": "epochs",
    "step": "steps",
}


@mpl.rc_context(STYLE)
def learning_curve(
    workload: str, outcomes: Sequence[Outcome], metric: str, styles: Mapping[str, LineStyle]
) -> str:
    """Draw `metric` against training samples seen, of all trials that have a result.

    Where a trial does not know its samples, all are drawn against epochs, or else against steps.

    Thin: single seeds, the first `MOST_THIN` of each candidate, a cross where one diverged. Thick:
    the mean with a pointwise 95% t band, as far as every seed has a value. Dashed, across: the
    target, where one is declared. Shares are drawn in percent; other metrics that span more than a
    factor of ten on a logarithmic axis, with the mean and the band of their logarithms.
    """
    arms = {
        name: [one for one in outcomes if one.has_result and one.trial.candidate.name == name]
        for name in styles
    }
    arms = {name: trials for name, trials in arms.items() if trials}
    share, factor = _scale(outcomes, metric)
    axis = _axis([trial for trials in arms.values() for trial in trials], metric)
    curves = {
        name: [_finite_part(trial, metric, axis, factor) for trial in trials]
        for name, trials in arms.items()
    }
    logarithmic = not share and _spans_decades(curves)
    labels = {name: f"{name} (n = {len(trials)})" for name, trials in arms.items()}
    said = f"{metric.replace('_', ' ')}{', %' if share else ''}"
    figure, axes = panel(workload, _AXES[axis], said)
    for name, trials in arms.items():
        _draw_arm(axes, labels[name], trials, curves[name], styles[name], logarithmic)
    target = _target(outcomes, metric)
    if target is not None:
        axes.axhline(factor * target, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if share and arms:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))  # no band makes an accuracy of 110 %
    if arms:
        add_legend(figure)
    names = ", ".join(f"{name}, {len(trials)} seeds" for name, trials in arms.items())
    described = f"{metric.replace('_', ' ')} on {workload} against {_AXES[axis]}: {names}"
    return to_svg(figure, f"{workload}/{metric}", described)


def _draw_arm(
    axes: Axes,
    label: str,
    trials: Sequence[Outcome],
    curves: Sequence[_Curve],
    style: LineStyle,
    logarithmic: bool,
) -> None:
    # One line with gaps: a line for each seed would take most of the time of a page.
    gap = (np.array([np.nan]),) * 2
    thin = [part for curve in curves[:MOST_THIN] for part in (curve, gap)]
    x, y = (np.concatenate([part[axis] for part in thin]) for axis in (0, 1))
    axes.plot(x, y, color=style.colour, linewidth=0.6, alpha=0.35)
    for trial, (x, y) in zip(trials, curves, strict=True):
        if trial.state == "diverged" and len(x):
            axes.plot(x[-1], y[-1], "x", color=style.colour, markersize=6, markeredgewidth=1.5)
    shared = sorted(set.intersection(*(set(x.tolist()) for x, _ in curves)))
    values = np.array([y[np.isin(x, shared)] for x, y in curves])  # (n_seeds, n_points)
    forth, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    values = forth(values)
    mean = values.mean(axis=0)
    axes.plot(
        shared, back(mean), color=style.colour, linestyle=style.dashes, linewidth=1.8, label=label
    )
    if len(trials) > 1:
        n = len(trials)
        half = special.stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / n**0.5
        axes.fill_between(
            shared,
            back(mean - half),
            back(mean + half),
            color=style.colour,
            alpha=0.14,
            linewidth=0,
        )


def _target(outcomes: Sequence[Outcome], metric: str) -> float | None:
    """Return the target that `metric` is timed to reach, where its workload declares one."""
    readings = {one.trial.workload.metric_spec for one in outcomes}
    return next((one.target for one in readings if one.metric == metric), None)


def _scale(outcomes: Sequence[Outcome], metric: str) -> tuple[bool, float]:
    """Say whether `metric` is drawn in percent, and what its values are to be multiplied by."""
    if outcomes:
        reading = outcomes[0].trial.workload.metric_spec
        if metric in (reading.metric, reading.final_metric):
            scale = Scale.of(reading)
            return scale.in_points, scale.factor
    return False, 1.0


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
    bad = np.flatnonzero(~np.isfinite(values[:, 1]))
    kept = values[: bad[0]] if len(bad) else values
    return kept[:, 0], kept[:, 1]


def _spans_decades(curves: Mapping[str, Sequence[_Curve]]) -> bool:
    drawn = [value for arm in curves.values() for _, values in arm for value in values]
    return bool(drawn and min(drawn) > 0 and max(drawn) > 10 * min(drawn))


MOST_NAMED = 8  # layers; of more, the legend names the first, the middle and the last
_LIGHTEST = 0.88  # of the colour map; what comes after is too pale on white

# Steps, and the mean gate at each.
Curve = tuple[list[int], np.ndarray[tuple[int], np.dtype[np.float64]]]


def gate_curves(workload: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Draw a panel for every candidate whose trials have told of their layers, in order.

    Of trials with a result: a line a layer, the mean over seeds at the steps that all have.
    """
    by_candidate: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.has_result and one.layers:
            by_candidate.setdefault(one.trial.candidate.name, []).append(one)
    drawn = {name: mean_gates(trials) for name, trials in by_candidate.items()}
    return [
        _panel(workload, name, len(by_candidate[name]), layers)
        for name, layers in drawn.items()
        if layers
    ]


@mpl.rc_context(STYLE)
def _panel(workload: str, candidate: str, seeds: int, drawn: Mapping[str, Curve]) -> str:
    named = _named(list(drawn))
    colours = mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, len(drawn)))
    figure, axes = panel(f"{workload}, {candidate}", "steps", "mean gate")
    for (layer, (steps, gates)), colour in zip(drawn.items(), colours, strict=True):
        label = layer if layer in named else None
        axes.plot(steps, gates, color=colour, linewidth=1.0, label=label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    add_legend(figure)
    described = f"mean gate of {len(drawn)} layers against steps: {candidate} on {workload}"
    return to_svg(figure, f"{workload}/{candidate}/gates", f"{described}, n = {seeds}")


def mean_gates(trials: Sequence[Outcome]) -> Mapping[str, Curve]:
    """Return the mean gate of each layer over the trials, in the order of the model.

    Steps that a trial lacks are left out, and so are layers without a step.
    """
    shared = sorted(set.intersection(*(set(one.layers) for one in trials)))
    said = [layers for one in trials for layers in one.layers.values()]
    known = dict.fromkeys(name for layers in said for name in layers)
    means: dict[str, Curve] = {}
    for layer in known:
        steps = [step for step in shared if all(layer in one.layers[step] for one in trials)]
        gates = [[one.layers[step][layer]["gate"] for one in trials] for step in steps]
        if steps:
            means[layer] = steps, np.array(gates, dtype=np.float64).mean(axis=1)
    return means


def _named(layers: Sequence[str]) -> Sequence[str]:
    if len(layers) <= MOST_NAMED:
        return layers
    return [layers[0], layers[len(layers) // 2], layers[-1]]
