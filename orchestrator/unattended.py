"""Looks after a study once its jobs have ended: `python -m orchestrator.unattended ROOT STUDY`.

Run by the pool on this machine, and on SLURM by a small job that waits for the others. Sends again
what the sweep says is to be, and tells whom it says. Waits for nothing.
"""

import logging
import os
import sys
from pathlib import Path

from jobs.lock import LockHeld
from orchestrator.advance import Request, feed, submit
from orchestrator.backends.base import Submission, load_backend, read_submissions
from orchestrator.notify import tell
from orchestrator.packs import read_pack
from orchestrator.status import read_status
from orchestrator.study import Study, open_study

_log = logging.getLogger(__name__)


def look_after(study: Study) -> int:
    """Send what is left to send or to be sent again, and tell; return how many trials are sent."""
    submissions = read_submissions(study.layout)
    feed(study)
    status = read_status(study)
    sent = 0
    if status.jobs_alive:
        # It woke too early, where a job was requeued: another one waits for the end.
        load_backend(study.sweep.backend).submit(study.layout, ())
    elif submissions and status.missing and study.sweep.failures.unattended:
        sent = submit(study, _as_before(study, submissions[-1])).trials
        status = read_status(study)
    for wrong in tell(study, status):
        _log.warning("%s", wrong)
    return sent


def _as_before(study: Study, last: Submission) -> Request:
    """Return a request that takes data and code from where the last submission had them."""
    pack = read_pack(study.layout, last.id, 0)
    snapshots = sorted(study.layout.submissions.glob("*/code"))
    if snapshots:
        os.chdir(snapshots[-1])  # where user code is looked for before anything is sent
    return Request(
        pack.data_root,
        pack.download,
        lanes=last.lanes if last.backend == "local" else None,
        code=snapshots[-1] if snapshots else None,
    )


def main() -> None:
    """Look after the study that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    root, name = Path(sys.argv[1]), sys.argv[2]
    try:
        sent = look_after(open_study(name, root))
    except LockHeld as error:
        _log.warning("%s", error)  # whoever holds it sends
    else:
        _log.info("%d trials sent again", sent)


if __name__ == "__main__":
    main()
