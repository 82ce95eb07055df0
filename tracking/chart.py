"""A small line chart as SVG text: lines of (x, y) in a panel, for tuning and the appendix."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator

from tracking.figures import STYLE, Line, add_legend, panel
from tracking.svg import to_svg


@dataclass(frozen=True)
class Curve:
    """A line of (x, y), straight from point to point or by `steps`: each y holds to the next x."""

    name: str
    points: Sequence[tuple[float, float]]
    line: Line
    steps: bool = False


@dataclass(frozen=True)
class Words:
    """What stands around a chart; `name` is its own on the page."""

    name: str
    title: str
    x: str
    y: str


@mpl.rc_context(STYLE)
def chart(words: Words, curves: Sequence[Curve], description: str) -> str:
    """Draw `curves`; `description` is what a screen reader says."""
    figure, axes = panel(words.title, words.x, words.y, height=2.1)
    for curve in curves:
        axes.plot(
            *zip(*curve.points, strict=True),
            drawstyle="steps-post" if curve.steps else "default",
            color=curve.line.colour,
            linestyle=curve.line.dashes,
            linewidth=1.6,
            label=curve.name,
        )
    axes.margins(x=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    add_legend(figure)
    return to_svg(figure, words.name, description)
