"""Discard the results that other code has made, so that their trials run again."""

import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_once
from jobs.contract.attempts import DISCARDS_VERSION
from jobs.contract.layout import Layout
from jobs.contract.quantities import are, quantity
from jobs.contract.source_digest import code_digest
from orchestrator.progress.status import Status, TrialStatus, read_status
from orchestrator.study.study import Study
from orchestrator.submit.code_snapshot import (
    choose_code_roots,
    copy_code,
    list_code_files,
    list_named_files,
)
from orchestrator.submit.submit import check_sendable, lock_study
from orchestrator.submit.writer import SendOptions
from orchestrator.sweep.document import SweepError

_WHY = "the code has changed since"


@dataclass(frozen=True)
class OutdatedResults:
    """The results of a study that other code has made, in plan order, and all results there are.

    A result that an early version logged without a digest counts as one of other code.
    """

    trials: Sequence[TrialStatus]
    results: int

    def to_json(self) -> dict[str, Any]:
        return {
            "results": self.results,
            "outdated": [
                {"id": s.outcome.trial.id, "code": s.outcome.job.get("code")} for s in self.trials
            ],
        }


def find_outdated(study: Study) -> OutdatedResults:
    """Compare the digest of the code that made every result with that of the present code."""
    return _find_outdated(study, read_status(study))


def take_back(study: Study, options: SendOptions) -> tuple[OutdatedResults, Path | None]:
    """Decide that outdated results no longer count; return them and the path of the decision.

    Raises SweepError while a job of the study lives (it may be about to log such a result), and
    for whatever keeps their trials from being sent again.
    """
    with lock_study(study, options.break_lock):
        status = read_status(study)
        if alive := status.jobs_alive:
            raise SweepError(
                f"{quantity(alive, 'job')} of {study.name!r} {are(alive)} alive: wait for their "
                f"end, or thermolion cancel {study.name}"
            )
        outdated = _find_outdated(study, status)
        if not outdated.trials:
            return outdated, None
        check_sendable(study, status, [s.outcome.trial for s in outdated.trials], options)
        discarded = {
            s.outcome.trial.id: sorted({attempt.log for attempt in s.outcome.attempt_log})
            for s in outdated.trials
        }
        for trial in discarded:
            # Before the decision: the trial must not go on from a checkpoint of the old code.
            _remove_checkpoints(study.layout, trial)
        return outdated, _write_discards(study.layout, discarded)


def _find_outdated(study: Study, status: Status) -> OutdatedResults:
    results = [s for s in status.planned.values() if s.outcome.has_result]
    trials = [s.outcome.trial for s in results]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "code"
        roots = choose_code_roots(study, status, trials, copy)
        if copy in roots.values():
            copy_code(Path.cwd(), list_code_files(Path.cwd(), study.layout), copy)
        named = list_named_files(study.sweep)
        digests = {root: code_digest(root, named) for root in set(roots.values())}
    other = [s for s in results if s.outcome.job.get("code") != digests[roots[s.outcome.trial.id]]]
    return OutdatedResults(other, len(results))


def _remove_checkpoints(layout: Layout, trial_id: str) -> None:
    """Remove the checkpoints of a trial, with the folder of a command's own state."""
    for left in layout.checkpoints.glob(f"{trial_id}.*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _write_discards(layout: Layout, discarded: dict[str, list[str]]) -> Path:
    """Write the decision under the next free number; none is ever changed."""
    layout.decisions.mkdir(exist_ok=True)
    record = {
        "version": DISCARDS_VERSION,
        "kind": "rerun",
        "time_ms": time.time_ns() // 1_000_000,
        "why": _WHY,
        "discarded": discarded,
    }
    numbered = (layout.decisions / f"rerun-{number}.json" for number in itertools.count(1))
    return next(path for path in numbered if write_once(path, json.dumps(record, indent=1)))
