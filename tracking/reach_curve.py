"""The share of runs that have reached their target by a step, one panel a workload, as SVG text.

One minus the Kaplan-Meier estimate. Shows what `time_to_target` found.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from tracking.figures import STYLE, Line, add_legend, panel
from tracking.survival import kaplan_meier
from tracking.svg import to_svg
from tracking.time_to_target import Arm


@mpl.rc_context(STYLE)
def reach_curve(arms: Sequence[Arm], target: str, styles: Mapping[str, Line]) -> str:
    """Draw the arms of one workload; `target` is its target in words.

    A bar at the end of a line marks runs that have not reached the target when their budget ends.
    """
    workload = arms[0].workload
    labels = [f"{arm.candidate} ({arm.reached} of {len(arm.times)})" for arm in arms]
    figure, axes = panel(workload, "steps", f"reached {target}, % of runs")
    for arm, label in zip(arms, labels, strict=True):
        style = styles[arm.candidate]
        times = [arm.horizon if step is None else step for _, step in arm.times]
        curve = kaplan_meier(times, [step is not None for _, step in arm.times])
        x = np.concatenate([[0], curve.times, [arm.horizon]])
        share = 100 * (1 - np.concatenate([[1.0], curve.survival, curve.survival[-1:]]))
        share = share if len(curve.times) else np.zeros(2)
        axes.plot(
            x,
            share,
            drawstyle="steps-post",
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
            label=label,
        )
        if arm.reached < len(arm.times):
            axes.plot(arm.horizon, share[-1], "|", color=style.colour, markersize=9)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)
    axes.set_ylim(-3, 103)
    add_legend(figure)
    names = ", ".join(f"{arm.candidate} {arm.reached} of {len(arm.times)}" for arm in arms)
    described = f"Share of runs on {workload} that reached {target} by a step: {names}"
    return to_svg(figure, f"{workload}/reached", described)
