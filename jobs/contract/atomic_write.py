"""Write a file so that readers find it whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def open_atomically(
    path: Path, *, replace: bool = True, mode: int = 0o666, draft: Path | None = None
) -> Iterator[IO[bytes]]:
    """Open a draft beside `path`, which is synced and replaces it when the block ends.

    If the block raises, `path` stays as it was. Without `replace`, raises FileExistsError if
    `path` exists by then. The name of the draft begins with that of `path`, unless it is given.
    """
    # Two hosts that share the folder may have the same pid: the draft needs a name of its own.
    draft = draft or path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)  # of several writers one wins, on network file systems as well
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace what is at `path` by `text`."""
    with open_atomically(path) as file:
        file.write(text.encode())


def write_once(path: Path, text: str) -> bool:
    """Write `text` to `path` unless it exists; return True if it was written."""
    try:
        with open_atomically(path, replace=False) as file:
            file.write(text.encode())
    except FileExistsError:
        return False
    return True
