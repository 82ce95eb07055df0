"""A file that readers meet whole or not at all. Standard library only."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` beside `path`, sync it, and put it in its place."""
    # Two hosts that share the folder may have the same pid: the draft needs a name of its own.
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_once(path: Path, text: str) -> bool:
    """Write `text` to `path` unless it exists; return whether it was written. Whole, or not."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # of several writers one wins, on network file systems as well
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
