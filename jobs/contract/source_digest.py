"""A digest of the sources that decide what a trial computes."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from jobs.contract.code_files import NamedFiles, find_code

_NOTHING_NAMED = NamedFiles()


@lru_cache(maxsize=16)
def code_digest(user_root: Path | None = None, named: NamedFiles = _NOTHING_NAMED) -> str:
    """Return 16 hex digits over our training sources and, if there is one, the user's tree.

    `user_root` is a snapshot: every file in it that is code counts, by its relative path and
    bytes. What is code is `jobs.contract.code_files`'; the sweep has `named` some of it.
    """
    root = Path(__file__).parents[2]
    ours = sorted([*(root / "jobs").rglob("*.py"), *(root / "thermolion").rglob("*.py")])
    whole = hashlib.sha256()
    for source in ours:
        name = source.relative_to(root).as_posix()
        whole.update(name.encode() + b"\0" + source.read_bytes() + b"\0")
    if user_root is not None:
        for name, content in find_code(user_root, named):
            whole.update(os.fsencode(name) + b"\0" + content + b"\0")
    return whole.hexdigest()[:16]
