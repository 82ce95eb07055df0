"""What a driver on Ray and its lanes tell each other by files in the folder of their submission.

A lane may be on another host, where no signal of ours reaches it. Loads no Ray.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_atomically, write_once

TUNE = "tune"  # the folder in which Tune works; of no use to anybody afterwards


@dataclass(frozen=True)
class StopRequest:
    """Why all lanes are to end, and of which class of failure that is (empty: it was wanted)."""

    reason: str
    kind: str


@dataclass(frozen=True)
class LaneSignals:
    """The marks in the folder of one submission."""

    folder: Path

    @property
    def _stop(self) -> Path:
        return self.folder / "stop.json"

    @property
    def _trouble(self) -> Path:
        return self.folder / "trouble.txt"

    @property
    def _ray(self) -> Path:
        return self.folder / "ray.json"

    def request_stop(self, reason: str, kind: str = "") -> None:
        """Have all lanes end at their next step; the first reason counts."""
        write_once(self._stop, json.dumps({"reason": reason, "kind": kind}))

    def stop_request(self) -> StopRequest | None:
        """Return why all lanes are to end, None where they are not."""
        try:
            return StopRequest(**json.loads(self._stop.read_text()))
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """Take back what another attempt has left."""
        for path in (self._stop, self._trouble):
            path.unlink(missing_ok=True)

    def write_trouble(self, trouble: str) -> None:
        """Say why no lane could be started."""
        write_atomically(self._trouble, trouble)

    def read_trouble(self) -> str | None:
        """Return why no lane could be started, None where that has not been so."""
        try:
            return self._trouble.read_text()
        except FileNotFoundError:
            return None

    def write_ray(self, ray: Mapping[str, Any]) -> None:
        """Write down where the Ray of this submission is."""
        write_atomically(self._ray, json.dumps(ray))

    def read_ray(self) -> Mapping[str, Any] | None:
        """Return where the Ray of this submission is, or was, None where it has left nothing."""
        try:
            found: Mapping[str, Any] = json.loads(self._ray.read_text())
        except FileNotFoundError:
            return None
        return found

    def forget_ray(self) -> None:
        """Take the note back: nothing of that Ray is left."""
        self._ray.unlink(missing_ok=True)
