"""The user's code as it is now, copied beside a submission: a later edit changes no waiting job.

Copies and counts; which trials run the copy is decided in `orchestrator.advance`.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jobs.layout import Layout
from orchestrator.sweep_file import SweepError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MOST_BYTES = 50 * 2**20
MOST_FILES = 10_000
IGNORE_FILE = ".thermolionignore"
_NEVER = ("__pycache__", ".venv", "venv", "node_modules")


def copy_code(source: Path, files: Iterable[str], target: Path) -> None:
    """Copy what `code_files` has listed to `target`, which must not exist."""
    target.mkdir(parents=True)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted in this moment
            shutil.copy2(source / name, target / name)


def code_files(source: Path, layout: Layout) -> Sequence[str]:
    """Return the files to copy, relative to `source`; what is recorded below the root is not.

    In a git work tree that is what git tracks or would track, elsewhere everything but hidden
    folders and installed packages; `.thermolionignore` leaves out more, in the patterns of a
    `.gitignore`. A link counts as the file that it leads to, if this lies inside. Raises
    SweepError if they are too large, or if a line is no pattern.
    """
    inside = source.resolve()
    recorded = [path.resolve() for path in _recorded(inside, layout)]
    ignored = _ignored(source)
    chosen = []
    for name in _listed(source):
        path = (source / name).resolve()
        if not path.is_file() or not path.is_relative_to(inside) or ignored.match_file(name):
            continue
        if not any(path.is_relative_to(place) for place in recorded):
            chosen.append(name)
    _check_size(source, chosen)
    return sorted(chosen)


def commit_of(source: Path) -> tuple[str | None, bool]:
    """Return the commit that a folder is at, None outside of git, and whether it was edited."""
    try:
        at, edits = (
            subprocess.run(
                ["git", *words], cwd=source, capture_output=True, text=True, check=False
            )
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except FileNotFoundError:
        return None, False
    return (at.stdout.strip(), bool(edits.stdout)) if at.returncode == 0 else (None, False)


def _recorded(inside: Path, layout: Layout) -> list[Path]:
    """Return what is no code: the root, or what lies in it where the code itself does."""
    if not inside.is_relative_to(layout.root.resolve()):
        return [layout.root]
    studies = [sweep.parent for sweep in layout.root.glob("*/sweep.yaml")]
    store = [layout.mlflow_store, layout.mlflow_artifacts, layout.root / "archive"]
    return [path for path in (layout.folder, *studies, *store) if path.resolve() != inside]


def _listed(source: Path) -> Iterable[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=source,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return _walked(source)
    # A folder of a work tree that git ignores altogether has no files, and may yet be the code.
    if listed.returncode != 0 or not listed.stdout:
        return _walked(source)
    names = listed.stdout.decode(errors="surrogateescape").split("\0")
    known = [name for name in names if name and not set(PurePosixPath(name).parts) & set(_NEVER)]
    return [file for name in known for file in _expanded(source, name)]


def _expanded(source: Path, name: str) -> list[str]:
    """Return the files of a work tree inside this one (a submodule); any other name as it is."""
    if not (source / name).is_dir() or (source / name).is_symlink():
        return [name]
    return [(PurePosixPath(name) / file).as_posix() for file in _listed(source / name)]


def _walked(source: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(source):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _NEVER]
        for name in files:
            yield (Path(folder) / name).relative_to(source).as_posix()


def _ignored(source: Path) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec  # takes 20 ms, which `plan` has no use for

    path = source / IGNORE_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    spec = GitIgnoreSpec([])
    for number, line in enumerate(lines, 1):
        try:
            spec += GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error) as error:
            raise SweepError(
                f"{path}, line {number}: {line!r} is no pattern as a .gitignore has them"
            ) from error
    return spec


def _check_size(source: Path, files: Sequence[str]) -> None:
    sizes = {name: (source / name).stat().st_size for name in files}
    total = sum(sizes.values())
    if total <= MOST_BYTES and len(files) <= MOST_FILES:
        return
    bytes_by: Counter[str] = Counter()
    files_by: Counter[str] = Counter()
    for name, size in sizes.items():
        first, slash, _ = name.partition("/")
        bytes_by[first + slash] += size
        files_by[first + slash] += 1
    by = bytes_by if total > MOST_BYTES else files_by
    largest = [
        f"{name} ({bytes_by[name] / 2**20:.1f} MB, {files_by[name]} files)"
        for name, _ in by.most_common(3)
    ]
    raise SweepError(
        f"the code to copy, {source}, has {total / 2**20:.0f} MB in {len(files)} files; "
        f"{MOST_BYTES // 2**20} MB in {MOST_FILES:,} files are the most. The largest: "
        f"{', '.join(largest)}. Name what the training does not need in {source / IGNORE_FILE}, "
        "a pattern a line, or run thermolion from the folder of the code alone"
    )
