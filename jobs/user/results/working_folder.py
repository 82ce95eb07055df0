"""A working folder of a trial's own: the user's code as links, and whatever the script writes.

Two trials that write `results.csv` into the folder that they run in would overwrite each other.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 20_000  # what is beyond is linked folder by folder


def make_working_folder(folder: Path, code_root: Path) -> None:
    """Make `folder` anew: real folders as in `code_root`, in which each file is a link.

    An environment of Python is one link. Hidden folders are left out, and the folder itself if it
    is inside.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = 0
    for source, is_folder in _walk(code_root.resolve(), folder.resolve().parent):
        target = folder / source.relative_to(code_root.resolve())
        if not target.parent.is_dir() or target.parent.is_symlink():
            continue  # a folder above it is a link
        made += 1
        if is_folder and made < _MOST_LINKS:
            target.mkdir()
        else:
            target.symlink_to(source)


def _walk(root: Path, left_out: Path) -> Iterator[tuple[Path, bool]]:
    """Yield every file and folder, from above to below; True for a folder that is no link."""
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        path = Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and ((path / "pyvenv.cfg").exists() or (path / "conda-meta").exists()):
            is_folder = False
        elif is_folder and (
            entry.name.startswith(".")
            or entry.name == "__pycache__"
            or left_out.is_relative_to(path)
        ):
            continue
        yield path, is_folder
        if is_folder:
            yield from _walk(path, left_out)
