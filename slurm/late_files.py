"""Files that another machine has just written: a shared file system may show them seconds late.

Waits for what must be there; what may be missing is looked for by others.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_PATIENCE_S = 60.0
_LOOK_S = 0.2

Found = TypeVar("Found")


def read_late(path: Path) -> str:
    """Return the text of a file; raises FileNotFoundError where it does not turn up in time."""
    text = await_late(lambda: _read(path))
    return path.read_text() if text is None else text


def await_late(look: Callable[[], Found | None]) -> Found | None:
    """Return what `look` finds, None where it finds nothing in time."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        found = look()
        if found is not None or time.monotonic() > end:
            return found
        time.sleep(_LOOK_S)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
