"""Mean gates of the layers against steps, one panel a workload and candidate, as SVG text.

Draws what the telemetry of trials says, in the order of the model; no verdict rests on it.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from tracking.figures import STYLE, add_legend, panel
from tracking.outcomes import Outcome
from tracking.svg import to_svg

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
