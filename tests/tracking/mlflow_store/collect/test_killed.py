"""Whatever ends a collector, the store ends with what an undisturbed one would have written."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from warm_collector import WarmCollector, warm_collector

from tracking.mlflow_store.collect import CollectError, Collector
from tracking.outcomes import read_outcomes

Study = Any  # of conftest.py, which nobody can import

KILLS = 20
MOST = 4 * KILLS  # collections that a test may begin for so many kills


def _undisturbed(study: Study, empty_store: Path, note: str | None = None) -> Any:
    """Return what a store says that is filled in one go."""
    calm = study.layout.root.parent / "calm.db"
    shutil.copy(empty_store, calm)
    uri = f"sqlite:///{calm}"
    outcomes = list(read_outcomes(study.layout.events).values())
    Collector(study.layout, uri).collect(outcomes, note=note)
    return study.content(uri)


def _strike(collector: WarmCollector, study: Study, after_s: float) -> bool:
    """Kill a collector so long after it has begun; return whether it still lived."""
    pid = collector.begin(study.layout.root, study.layout.study, "n")
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    code = collector.ended()
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_a_collector_that_is_killed_at_any_moment_leaves_nothing_that_the_next_one_cannot_mend(
    study: Study, empty_store: Path, record_property: Any
) -> None:
    draw = random.Random(9)
    growing, log = study.trial(10_000), study.log()
    study.start(log, growing)
    kills = begun = 0
    with warm_collector() as collector:
        began = time.monotonic()
        study.run_blocks(0)
        collector.begin(study.layout.root, study.layout.study, "n")
        assert collector.ended() == 0
        took = time.monotonic() - began
        while kills < KILLS:
            begun += 1
            assert begun <= MOST, f"{kills} of {begun} collections were killed"
            study.run_blocks(2 * begun, 2 * begun + 1)
            study.evaluate(log, growing, begun)
            kills += _strike(collector, study, draw.uniform(0, took))
        study.complete(log, growing)
        log.close()
        collector.begin(study.layout.root, study.layout.study, "n")
        assert collector.ended() == 0
    record_property("tells", f"{kills} of {begun} collections were killed")
    study.check()
    assert study.content() == _undisturbed(study, empty_store, "n")
    with contextlib.closing(sqlite3.connect(study.layout.mlflow_store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert study.collect(note="n").unchanged == len(study.trials)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(2**20)):
            pass
    return filler


def test_a_full_disk_is_said_and_the_next_collection_completes_what_it_has_cut(
    study: Study, small_disk: Path, empty_store: Path
) -> None:
    shutil.copy(empty_store, small_disk / "mlflow.db")
    full = type(study)(small_disk)
    full.run_blocks(*range(12))
    logs = {path.name: path.read_bytes() for path in full.layout.events.iterdir()}

    def fill(done: int, _total: int) -> None:
        if done == 3:
            _fill(small_disk)

    with pytest.raises(CollectError, match=r"full[^\n]*\n[3-9] of 12 trials are up to date"):
        full.collect(progress=fill)
    with pytest.raises((CollectError, OSError), match=r"full|No space left"):
        full.collect()
    (small_disk / "filler").unlink()
    assert {path.name: path.read_bytes() for path in full.layout.events.iterdir()} == logs
    collected = full.collect()
    assert collected.unchanged >= 3
    assert collected.new + collected.updated + collected.unchanged == 12
    full.check()
    calm = _undisturbed(full, empty_store)
    assert full.content() == calm
