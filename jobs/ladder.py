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
from jobs.trial import Trial
from jobs.whole_file import write_whole

_log = logging.getLogger(__name__)


class Ladder:
    """One trial and its rungs, of which it may have none."""

    def __init__(self, trial: Trial, layout: Layout) -> None:
        self._trial = trial
        self._folder = layout.rungs / trial.rivals
        self._left = [] if trial.rungs is None else list(trial.rungs.at)
        self._reading = trial.workload.read_as

    def look(self, position: float, metrics: Mapping[str, float]) -> int | None:
        """Take a point of the curve; return the rung at which the trial ends, if it does.

        `position` is in the unit of the rungs. A folder that cannot be written ends no trial.
        """
        value = metrics.get(self._reading.metric, math.nan)
        while self._left and self._left[0] <= position and math.isfinite(value):
            rung = self._left.pop(0)
            try:
                if not self._goes_on(rung, value):
                    return rung
            except OSError as error:
                _log.warning("trial %s goes on past rung %d: %s", self._trial.id, rung, error)
        return None

    def _goes_on(self, rung: int, value: float) -> bool:
        folder = self._folder / str(rung)
        mine = folder / f"{self._trial.id}.json"
        if _read(mine).get("goes_on"):
            return True  # as an earlier attempt was told, whoever has come since
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(mine, json.dumps({"value": value}))
        there = [_read(file) for file in folder.glob("*.json") if file != mine]
        others = [one["value"] for one in there if "value" in one]
        assert self._trial.rungs is not None
        goes_on = self._trial.rungs.keeps(value, others, self._reading.goal == "min")
        if goes_on:
            write_whole(mine, json.dumps({"value": value, "goes_on": True}))
        return goes_on


def _read(file: Path) -> Mapping[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        record: Mapping[str, Any] = json.loads(file.read_text())
        return record
    return {}
