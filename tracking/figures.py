"""How every figure of the report looks: type, ink, and one line style a candidate.

Draws nothing itself: `learning_curve` and `forest` do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito (2008): told apart by the colour-blind; yellow is left out, too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_DASHES = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.2, 1.2)))
_HALF_WIDTH = 22  # letters of a label that fit into half of a panel
INK, QUIET = "#1a1a1a", "#6b7280"

STYLE: dict[Any, Any] = {  # matplotlib types the keys one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
    "path.simplify_threshold": 0.4,  # points: less than the thinnest line is wide
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


def legend(labels: Sequence[str]) -> tuple[int, float]:
    """Return columns and height in inches of a legend below a panel of 3.9 inches.

    One column where a label needs more than half of the width.
    """
    columns = 2 if all(len(label) <= _HALF_WIDTH for label in labels) else 1
    return columns, 0.19 * -(-len(labels) // columns)
