"""Send what is missing: the one way by which trials reach a backend, first time or hundredth."""

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.lock import Lock
from jobs.process import user_name
from jobs.trial import Trial
from jobs.whole_file import write_whole
from orchestrator.backends.base import BackendError, Submission, load_backend, read_submissions
from orchestrator.backends.pool import count_gpus
from orchestrator.packs import make_packs, write_packs
from orchestrator.preflight import check_before_start
from orchestrator.status import read_status
from orchestrator.study import Study

_PATIENCE_S = 10  # another submit of the study takes seconds


@dataclass(frozen=True)
class Sent:
    """What `submit` did: `submission` is None where nothing was missing."""

    submission: Submission | None
    trials: int
    in_flight: int
    done: int


def submit(
    study: Study,
    data_root: Path | None = None,
    download: bool = False,
    lanes: int | None = None,
    break_lock: bool = False,
) -> Sent:
    """Send every trial that has no result and rides in no living job; returns once they are sent.

    Raises SweepError or DataError before anything is started, LockHeld where another submit of
    the study is under way.
    """
    study.layout.folder.mkdir(parents=True, exist_ok=True)
    with Lock(study.layout.lock, break_lock, wait_s=_PATIENCE_S):
        status = read_status(study)
        missing = status.missing
        in_flight = sum(standing.in_flight for standing in status.planned.values())
        if missing:
            check_before_start(study, missing, data_root, download)
        study.record()
        if not missing:
            return Sent(None, 0, in_flight, status.done)
        lanes = lanes or lanes_here(study)
        packs = make_packs(missing, lanes, status.lost)
        submission = _record(study, packs, lanes, data_root, download)
        load_backend(submission.backend).submit(study.layout, submission)
    return Sent(submission, len(missing), in_flight, status.done)


def cancel(study: Study) -> int:
    """Stop every living job of a study cleanly; return how many submissions were stopped.

    Raises BackendError, after all the others are stopped, for one that cannot be from here.
    """
    stopped = 0
    out_of_reach: BackendError | None = None
    for submission in read_submissions(study.layout):
        backend = load_backend(submission.backend)
        if any(s != "ended" for s in backend.states(study.layout, submission).values()):
            try:
                backend.cancel(study.layout, submission)
                stopped += 1
            except BackendError as error:
                out_of_reach = error
    if out_of_reach is not None:
        raise out_of_reach
    return stopped


def lanes_here(study: Study) -> int:
    """Return how many trials of a study this machine runs at once, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lanes = max(1, (cores or 1) // study.sweep.threads)
    return min(lanes, max(1, count_gpus())) if study.sweep.device == "cuda" else lanes


def _record(
    study: Study,
    packs: Sequence[Sequence[Trial]],
    lanes: int,
    data_root: Path | None,
    download: bool,
) -> Submission:
    """Write down the intent: packs first, then the record that makes them a submission."""
    name = _next_folder(study)
    write_packs(study.layout, name, packs, data_root, download)
    submission = Submission(
        id=name,
        backend=study.sweep.backend,
        packs=len(packs),
        lanes=min(lanes, len(packs)),
        threads=study.sweep.threads,
        device=study.sweep.device,
        user=user_name(),
        host=socket.gethostname(),
        time_ms=time.time_ns() // 1_000_000,
    )
    record = study.layout.submission(name) / "submission.json"
    write_whole(record, json.dumps(submission.to_json(), indent=1))
    return submission


def _next_folder(study: Study) -> str:
    """Create the folder of the next submission; a number is never used twice."""
    taken = [int(p.name) for p in study.layout.submissions.glob("*") if p.name.isdigit()]
    name = f"{max(taken, default=0) + 1:04d}"
    study.layout.submission(name).mkdir(parents=True)
    return name
