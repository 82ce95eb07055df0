"""A matplotlib figure as SVG text to be put into a page: deterministic, accessible, no metadata.

Draws nothing.
"""

import hashlib
import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Render `figure`; equal figures of one `name` give equal bytes.

    `name` must be unique on a page: it keeps the ids of one figure apart from those of another.
    `description` is what a screen reader says.
    """
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
