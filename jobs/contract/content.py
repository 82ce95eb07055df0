"""Content as canonical JSON: what ids and hashes are made of."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def canonical_json(content: Any) -> str:
    """Serialise so that equal content gives equal text: sorted keys, floats by `repr`."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """Return the first 16 hex digits of sha256 over the canonical JSON of `content`."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def known_fields(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record holds of the fields of `kind`, a dataclass; others are left out."""
    return {f.name: record[f.name] for f in fields(kind) if f.name in record}
