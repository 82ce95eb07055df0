"""The way of a trial past its rungs: it judges itself by what others had when they were there.

No scheduler decides: every trial writes down what it has at a rung and looks who has been there.
So it is the same on every backend, and nobody has to live on for it.
"""

import contextlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.layout import Layout
from jobs.rungs import Rungs
from jobs.trial import Trial
from jobs.whole_file import write_whole

_log = logging.getLogger(__name__)
_NO_RUNGS = Rungs((), 1)


class Ladder:
    """One trial and its rungs, of which it may have none; `told` is the one at which it ends.

    What an attempt was told at a rung holds for those that follow, whoever has come since.
    """

    def __init__(self, trial: Trial, layout: Layout) -> None:
        self._rungs = trial.rungs or _NO_RUNGS
        self._trial = trial.id
        self._folder = layout.rungs / self._rungs.rivals
        self._left = list(self._rungs.at)
        self._reading = trial.workload.read_as
        self.told: int | None = None

    def reach(self, position: float, metrics: Mapping[str, float]) -> None:
        """Take a point of the curve, whose `position` is in the unit of the rungs.

        A folder that cannot be written ends no trial.
        """
        value = metrics.get(self._reading.metric, math.nan)
        while self._left and self._left[0] <= position and math.isfinite(value):
            rung = self._left.pop(0)
            try:
                goes_on = self._goes_on(rung, value)
            except OSError as error:
                _log.warning("trial %s goes on past rung %d: %s", self._trial, rung, error)
                continue
            if not goes_on:
                self.told = rung
                self._left.clear()

    def hear(self) -> None:
        """Learn what an earlier attempt was told, or what rank 0 is."""
        for rung in self._rungs.at if self.told is None else ():
            if _read(self._file(rung)).get("goes_on") is False:
                self.told = rung

    def _goes_on(self, rung: int, value: float) -> bool:
        mine = self._file(rung)
        kept = _read(mine)
        if "goes_on" in kept:
            return bool(kept["goes_on"])
        value = kept.get("value", value)  # of an attempt that was killed as it wrote this
        mine.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mine, json.dumps({"value": value}))
        there = [_read(file) for file in mine.parent.glob("*.json") if file != mine]
        others = [one["value"] for one in there if "value" in one]
        goes_on = self._rungs.keeps(value, others, self._reading.goal == "min")
        write_whole(mine, json.dumps({"value": value, "goes_on": goes_on}))
        return goes_on

    def _file(self, rung: int) -> Path:
        return self._folder / str(rung) / f"{self._trial}.json"


def _read(file: Path) -> Mapping[str, Any]:
    """Return what a trial had at a rung, nothing where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        record: Mapping[str, Any] = json.loads(file.read_text())
        return record
    return {}
