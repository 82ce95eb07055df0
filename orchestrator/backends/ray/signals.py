"""Files in the folder of a submission by which a driver on Ray and its lanes signal each other.

A lane may be on another host, which no signal of the system reaches. Does not load Ray.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_atomically, write_once

TUNE = "tune"  # the folder in which Tune works; of no use afterwards
_STOP, _TROUBLE, _RAY = "stop.json", "trouble.txt", "ray.json"


@dataclass(frozen=True)
class StopRequest:
    """Why all lanes are to end, and the class of failure (empty if the end was wanted)."""

    reason: str
    kind: str


@dataclass(frozen=True)
class LaneSignals:
    """The files in the folder of one submission."""

    folder: Path

    def request_stop(self, reason: str, kind: str = "") -> None:
        """Ask all lanes to end at their next step; the first reason counts."""
        write_once(self.folder / _STOP, json.dumps({"reason": reason, "kind": kind}))

    def stop_request(self) -> StopRequest | None:
        """Return why all lanes are to end, None if they are not."""
        text = _read(self.folder / _STOP)
        return None if text is None else StopRequest(**json.loads(text))

    def clear(self) -> None:
        """Remove the signals of an earlier attempt."""
        for name in (_STOP, _TROUBLE):
            (self.folder / name).unlink(missing_ok=True)

    def write_trouble(self, trouble: str) -> None:
        """Record why no lane could be started."""
        write_atomically(self.folder / _TROUBLE, trouble)

    def read_trouble(self) -> str | None:
        """Return why no lane could be started, None if they could."""
        return _read(self.folder / _TROUBLE)

    def write_ray(self, ray: Mapping[str, Any]) -> None:
        """Record where the Ray of this submission is."""
        write_atomically(self.folder / _RAY, json.dumps(ray))

    def read_ray(self) -> Mapping[str, Any] | None:
        """Return where the Ray of this submission is, or was; None if nothing of it is left."""
        text = _read(self.folder / _RAY)
        return None if text is None else dict(json.loads(text))

    def forget_ray(self) -> None:
        """Remove the record: nothing of that Ray is left."""
        (self.folder / _RAY).unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
