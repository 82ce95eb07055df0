"""A small line chart as SVG text, written by hand: a hundredth of what a full figure takes.

For the appendix, whose charts have a few lines each. Computes nothing but places on the paper.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tracking.figures import INK, QUIET, Line

WIDTH, _HEIGHT = 281, 150  # of the plot with its axes, in the points of the other figures
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 22, 32
_LINE = 13  # from one line of text to the next
_GLYPH = 5.0  # mean width of a letter
_LEGEND = 26  # from the left end of a legend's stroke to its text
_GRID = "#e5e7eb"


@dataclass(frozen=True)
class Curve:
    """A line of (x, y), straight from point to point or by `steps`: each y holds to the next x."""

    name: str
    points: Sequence[tuple[float, float]]
    line: Line
    steps: bool = False


@dataclass(frozen=True)
class Axes:
    """What a chart shows; `y_range` is (least, greatest), of the values where it is None.

    `limit` is a dashed line across, with its words. `logarithmic` is the y axis.
    """

    title: str
    x: str
    y: str
    y_range: tuple[float, float] | None = None
    logarithmic: bool = False
    limit: tuple[float, str] | None = None


def chart(axes: Axes, curves: Sequence[Curve], description: str) -> str:
    """Draw `curves`; `description` is what a screen reader says. Values have to be finite."""
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    limit = [axes.limit[0]] if axes.limit else []
    low, high = axes.y_range or (min([*ys, *limit]), max([*ys, *limit]))
    place = _Place(_spread(min(xs), max(xs)), _spread(low, high), axes.logarithmic)
    legend, legend_height = _legend(curves)
    body = [
        text(_LEFT, 13, axes.title, size=10.5, bold=True),
        *_y_axis(place, axes),
        *_x_axis(place, axes),
        *[_drawn(curve, place) for curve in curves],
        *legend,
    ]
    return drawing(WIDTH, _HEIGHT + legend_height, body, description)


def drawing(width: float, height: float, body: Sequence[str], description: str) -> str:
    """Wrap elements as an SVG that takes the width of its column."""
    label = escape(description)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}" '
        f'xmlns="http://www.w3.org/2000/svg">\n <title>{label}</title>\n '
        + "\n ".join(body)
        + "\n</svg>\n"
    )


def text(
    x: float, y: float, words: str, size: float = 9, bold: bool = False, anchor: str = "start"
) -> str:
    """Return words at a place, in the ink of the figures."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"{weight} '
        f'fill="{INK}">{escape(words)}</text>'
    )


def stroke(points: Sequence[tuple[float, float]], line: Line, width: float = 1.6) -> str:
    """Return a line through places."""
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = "" if isinstance(line.dashes, str) else _dashes(line.dashes[1])
    return (
        f'<polyline points="{at}" fill="none" stroke="{line.colour}" stroke-width="{width:g}"'
        f"{dashes}/>"
    )


@dataclass(frozen=True)
class _Place:
    """Where values are on the paper."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    logarithmic: bool

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = map(self._scaled, self.y_range)
        share = (self._scaled(value) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def _y_axis(place: _Place, axes: Axes) -> list[str]:
    low, high = place.y_range
    found = []
    for tick in _decades(low, high) if axes.logarithmic else _ticks(low, high):
        y = place.y(tick)
        found.append(_rule(_LEFT, y, WIDTH - _RIGHT, y, _GRID))
        found.append(text(_LEFT - 4, y + 3, f"{tick:.6g}", 8, anchor="end"))
    if axes.limit:
        value, words = axes.limit
        y = place.y(value)
        found.append(_rule(_LEFT, y, WIDTH - _RIGHT, y, QUIET, (4, 3)))
        found.append(text(WIDTH - _RIGHT, y - 3, words, 8, anchor="end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = text(0, 0, axes.y, anchor="middle")
    found.append(f'<g transform="translate(9 {middle:g}) rotate(-90)">{turned}</g>')
    return found


def _x_axis(place: _Place, axes: Axes) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    found = [_rule(_LEFT, bottom, WIDTH - _RIGHT, bottom, "#9ca3af")]
    for tick in _ticks(*place.x_range):
        found.append(_rule(place.x(tick), bottom, place.x(tick), bottom + 3, "#9ca3af"))
        found.append(text(place.x(tick), bottom + 12, f"{tick:.6g}", 8, anchor="middle"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    return [*found, text(middle, _HEIGHT - 6, axes.x, anchor="middle")]


def _drawn(curve: Curve, place: _Place) -> str:
    low, high = place.y_range
    at: list[tuple[float, float]] = []
    for x, y in curve.points:
        spot = place.x(x), place.y(min(high, max(low, y)))
        if curve.steps and at:
            at.append((spot[0], at[-1][1]))
        at.append(spot)
    return stroke(at, curve.line)


def _legend(curves: Sequence[Curve]) -> tuple[list[str], float]:
    """Name the curves below the plot, in two columns where the names leave room."""
    room = (WIDTH / 2 - _LEGEND - 4) / _GLYPH
    columns = 2 if all(len(curve.name) <= room for curve in curves) else 1
    found = []
    for number, curve in enumerate(curves):
        x = 4 + (number % columns) * WIDTH / 2
        y = _HEIGHT + 9 + number // columns * _LINE
        found.append(stroke([(x, y - 3), (x + _LEGEND - 6, y - 3)], curve.line))
        found.append(text(x + _LEGEND, y, curve.name))
    return found, math.ceil(len(curves) / columns) * _LINE + 4


def _rule(
    x1: float, y1: float, x2: float, y2: float, colour: str, dashes: tuple[float, ...] = ()
) -> str:
    dashed = _dashes(dashes) if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="0.8"{dashed}/>'
    )


def _dashes(pattern: tuple[float, ...]) -> str:
    return f' stroke-dasharray="{" ".join(f"{1.6 * length:g}" for length in pattern)}"'


def _spread(low: float, high: float) -> tuple[float, float]:
    """Make room where all values are one."""
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _ticks(low: float, high: float) -> list[float]:
    """Return some five round numbers of a range."""
    raw = (high - low) / 4.5
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * f for f in (1, 2, 5, 10) if size * f >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    thinned = range(first, last + 1, 1 + (last - first) // 6)
    return [10.0**power for power in thinned]
