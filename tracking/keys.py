"""What MLflow takes as a key or a value, and how our names become that. Imports no MLflow."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

MAX_TAG = 8000
MAX_PARAM = 6000
MAX_NAME = 250
MAX_DATA_NAME, MAX_DATA_DIGEST = 500, 36
MAX_KEY = 250
_MAX_PART = 100
_ROOM = 20  # that a key leaves to what is said of it: `final_…`, `….sd`

_READABLE = str.maketrans({"=": ":", "[": " ", ",": " ", "]": None})
_FORBIDDEN = re.compile(r"[^\w.\- :]")


@lru_cache(maxsize=4096)
def key(name: str) -> str:
    """Turn a name into a key: `adamw[lr=0.001]` becomes `adamw lr:0.001`; "/" makes groups.

    Different names may become one key; `keys` keeps them apart.
    """
    whole = "/".join(part for part in map(_part, name.split("/")) if part) or "unnamed"
    return within(whole, MAX_KEY - _ROOM)


def within(key: str, limit: int = MAX_KEY) -> str:
    """Cut a key that MLflow would refuse; what is cut stays apart from others."""
    return key if len(key) <= limit else f"{key[: limit - 9]}-{_digest(key)}"


def part(name: str) -> str:
    """Turn a name into one part of a key: as `key`, without groups."""
    return _part(name.replace("/", "_")) or "unnamed"


def keys(names: Iterable[str]) -> dict[str, str]:
    """Return the key of every name, each its own."""
    return _apart({name: key(name) for name in names})


def parts(names: Iterable[str]) -> dict[str, str]:
    """Return every name as one part of a key, each its own."""
    return _apart({name: part(name) for name in names})


def text(value: Any, limit: int) -> str:
    """Spell a value so that it can be read back: strings as they are, the rest as JSON."""
    if type(value) is int:
        return cut(str(value), limit)  # most are; what JSON says, in a tenth of the time
    spelled = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return cut(spelled, limit)


def cut(long: str, limit: int) -> str:
    return long if len(long) <= limit else long[: limit - 2] + " …"


def _apart(found: dict[str, str]) -> dict[str, str]:
    taken = Counter(found.values())
    return {
        name: f"{short}-{_digest(name)}" if taken[short] > 1 else short
        for name, short in found.items()
    }


def _part(name: str) -> str:
    clean = " ".join(_FORBIDDEN.sub("_", name.translate(_READABLE)).split())
    if len(clean) > _MAX_PART:
        clean = f"{clean[: _MAX_PART - 9]}-{_digest(name)}"
    # MLflow reads a key as a path: a part of dots alone would climb.
    return "" if not clean.strip(".") else clean


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
