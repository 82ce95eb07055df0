"""What the figures of the report share: style, panel, line chart, and a figure as SVG text.

The text is deterministic, accessible and without metadata. What a section draws is up to it.
matplotlib is loaded when something is drawn: words and numbers of a section do without.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by the colour-blind; yellow is left out, too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_Dashes = str | tuple[int, tuple[float, ...]]
_DASHES: Sequence[_Dashes] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.2, 1.2)))
_HALF_WIDTH = 22  # letters of a label that fit into half of a panel
_WIDTH = 3.9  # inches
_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
INK, QUIET, GRID = "#1a1a1a", "#6b7280", "#e5e7eb"
_STYLE_SHEET = Path(__file__).with_name("report.mplstyle")


class LineStyle(TypedDict):
    """How a candidate is drawn on every figure, as matplotlib's `plot` takes it."""

    color: str
    linestyle: _Dashes


def lines(candidates: Sequence[str]) -> dict[str, LineStyle]:
    """Give every candidate a colour and a dash pattern; their pair repeats after 28."""
    styles = zip(candidates, cycle(_COLOURS), cycle(_DASHES), strict=False)
    return {name: LineStyle(color=colour, linestyle=dashes) for name, colour, dashes in styles}


@contextmanager
def plot_style() -> Iterator[None]:
    """Make figures, and turn them into SVG, in the style of the report; decorates functions."""
    from matplotlib import style

    with style.context(_STYLE_SHEET):
        yield


def panel(title: str, x: str, y: str, height: float = 2.5) -> "tuple[Figure, Axes]":
    """Return an empty panel of `height` inches, with its words around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def count_from_zero(axes: "Axes", integer: bool = False) -> None:
    """Let the axis of samples, epochs or steps begin at zero, with short numbers."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=integer))
    axes.set_xlim(left=0)


def add_legend(figure: "Figure") -> None:
    """Name the lines below the panel, which gets higher by that: in two columns if they fit."""
    (axes,) = figure.axes
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if all(len(label) <= _HALF_WIDTH for label in labels) else 1
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def to_svg(figure: "Figure", name: str, description: str) -> str:
    """Render `figure`; equal figures of one `name` give equal bytes.

    `name` must be unique on a page: it keeps the ids of one figure apart from those of another.
    `description` is what a screen reader says.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    salt = "f" + hashlib.sha256(name.encode()).hexdigest()[:8]
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        FigureCanvasSVG(figure)  # becomes the canvas of the figure: no pyplot, no default backend
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    _, _, drawn = buffer.getvalue().partition("<svg")
    attributes, _, content = _ID.sub(rf"\g<1>{salt}-", drawn).partition(">")
    # Without a size of its own the drawing takes the width of its column.
    attributes = re.sub(r' (width|height)="[^"]*"', "", attributes)
    label = escape(description)
    opening = f'<svg role="img" aria-label="{label}"{attributes}>'
    return f"{opening}\n <title>{label}</title>{content.rstrip()}\n"


@dataclass(frozen=True)
class Curve:
    """A line of (x, y), straight from point to point or by `steps`: each y holds to the next x."""

    name: str
    points: Sequence[tuple[float, float]]
    line: LineStyle
    steps: bool = False


@plot_style()
def chart(
    curves: Sequence[Curve], *, name: str, title: str, x: str, y: str, description: str
) -> str:
    """Draw `curves`, with words at both axes; `name` and `description` are those of `to_svg`."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = panel(title, x, y, height=2.1)
    for curve in curves:
        xs, ys = zip(*curve.points, strict=True)
        drawstyle = "steps-post" if curve.steps else "default"
        axes.plot(xs, ys, drawstyle=drawstyle, linewidth=1.6, label=curve.name, **curve.line)
    axes.margins(x=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    add_legend(figure)
    return to_svg(figure, name, description)
