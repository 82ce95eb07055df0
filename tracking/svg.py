"""A matplotlib figure as SVG text to be put into a page: deterministic, accessible, no metadata.

Text stays text, so that it can be searched and takes the font of the page. Draws nothing.
"""

import hashlib
import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    drawn_as: dict[Any, Any] = {"svg.hashsalt": salt, "svg.fonttype": "none"}
    drawn_as["figure.constrained_layout.use"] = False  # or None below would be it again
    with mpl.rc_context(drawn_as):
        # Either becomes the canvas of the figure: no pyplot, no default backend. Agg measures text
        # several times faster, and a layout that is made needs no rehearsal before the drawing.
        FigureCanvasAgg(figure)
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)
        FigureCanvasSVG(figure)
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
