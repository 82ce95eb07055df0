"""A digest of the sources that decide what a trial computes."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

_DOCUMENTS = {".md", ".rst", ".ipynb", ".log"}


@lru_cache(maxsize=16)
def code_digest(user_root: Path | None = None) -> str:
    """Return 16 hex digits over our training sources and, if there is one, the user's tree.

    `user_root` is a snapshot: every file in it counts, by its relative path and bytes, except
    documents and sweep files (another seed is not other code).
    """
    root = Path(__file__).parents[2]
    ours = sorted([*(root / "jobs").rglob("*.py"), *(root / "thermolion").rglob("*.py")])
    whole = hashlib.sha256()
    for source in ours:
        name = source.relative_to(root).as_posix()
        whole.update(name.encode() + b"\0" + source.read_bytes() + b"\0")
    if user_root is not None:
        for path in sorted(path for path in user_root.rglob("*") if path.is_file()):
            name, content = path.relative_to(user_root).as_posix(), path.read_bytes()
            if not ("__pycache__" in name or _is_document(path, content)):
                whole.update(os.fsencode(name) + b"\0" + content + b"\0")
    return whole.hexdigest()[:16]


def _is_document(path: Path, content: bytes) -> bool:
    if path.suffix in (".yaml", ".yml"):
        return content.startswith(b"study:") or b"\nstudy:" in content
    return path.suffix in _DOCUMENTS
