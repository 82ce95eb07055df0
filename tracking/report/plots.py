"""What the figures of the report share: style, panel, line chart, and a figure as SVG text.

The text is deterministic, accessible and without metadata. What a section draws is up to it.
matplotlib is loaded when something is drawn: words and numbers of a section do without.
"""

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Arguments = ParamSpec("_Arguments")
_Drawn = TypeVar("_Drawn")

# Okabe and Ito (2008): told apart by the colour-blind; yellow is left out, too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_DASHES = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.2, 1.2)))
_HALF_WIDTH = 22  # letters of a label that fit into half of a panel
_WIDTH = 3.9  # inches
_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')
INK, QUIET, GRID = "#1a1a1a", "#6b7280", "#e5e7eb"

_STYLE: dict[Any, Any] = {  # matplotlib types the keys one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "axes.edgecolor": "#9ca3af",
    "axes.formatter.useoffset": False,  # a tick says its value
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "svg.fonttype": "none",  # text stays text: it can be searched, and has the font of the page
    "path.simplify_threshold": 0.4,  # points: less than the thinnest line is wide
}


@dataclass(frozen=True)
class LineStyle:
    """How a candidate is drawn, on every figure alike."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]


def lines(candidates: Sequence[str]) -> dict[str, LineStyle]:
    """Give every candidate a colour and a dash pattern; their pair repeats after 28."""
    return {
        name: LineStyle(_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)])
        for i, name in enumerate(candidates)
    }


def styled(draw: Callable[_Arguments, _Drawn]) -> Callable[_Arguments, _Drawn]:
    """Have a function make its figures, and turn them into SVG, in the style of the report."""

    @wraps(draw)
    def in_style(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Drawn:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return draw(*arguments, **options)

    return in_style


def panel(title: str, x: str, y: str, height: float = 2.5) -> "tuple[Figure, Axes]":
    """Return an empty panel of `height` inches, with its words around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
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
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = buffer.getvalue()
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = _ID.sub(rf"\g<1>{salt}-", body)
    # Without a size of its own the drawing takes the width of its column.
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    label = escape(description)
    opening = f'<svg role="img" aria-label="{label}" '
    body = body.replace("<svg ", opening, 1)
    head, _, rest = body.partition(">")
    return f"{head}>\n <title>{label}</title>{rest}".strip() + "\n"


@dataclass(frozen=True)
class Curve:
    """A line of (x, y), straight from point to point or by `steps`: each y holds to the next x."""

    name: str
    points: Sequence[tuple[float, float]]
    line: LineStyle
    steps: bool = False


@dataclass(frozen=True)
class Words:
    """What stands around a chart; `name` is its own on the page."""

    name: str
    title: str
    x: str
    y: str


@styled
def chart(words: Words, curves: Sequence[Curve], description: str) -> str:
    """Draw `curves`; `description` is what a screen reader says."""
    from matplotlib.ticker import MaxNLocator

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
