"""Looks after a study once its jobs have ended: `python -m orchestrator.unattended ROOT STUDY`.

Run by the pool on this machine, and on SLURM by a small job that waits for the others, so that no
terminal has to stay open: sends again what the sweep says, takes the decisions that are due, sends
what they release, and sends notices. Waits for nothing.
"""

import logging
import sys
from pathlib import Path

from jobs.contract.layout import Layout
from jobs.contract.lock import LockHeld
from orchestrator.progress.status import read_status
from orchestrator.study.study import Study, open_study
from orchestrator.submit.notify import send_notices
from orchestrator.submit.submit import advance_unattended, send_remaining
from slurm.waiting import retry_until

_log = logging.getLogger(__name__)


def main() -> None:
    """Look after the study that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    root, name = Path(sys.argv[1]), sys.argv[2]
    # By path: the current folder may have a file with the name of the study.
    study = open_study(str(Layout(root, name).sweep), root)
    retry_until(lambda: _look_after(study))


def _look_after(study: Study) -> bool:
    send_remaining(study)
    try:
        sent = advance_unattended(study)
    except LockHeld as error:
        _log.warning("%s", error)  # its holder sends
    else:
        _log.info("nothing to send" if sent is None else f"{sent.trials} trials sent")
    for failure in send_notices(study, read_status(study)):
        _log.warning("%s", failure)
    return True


if __name__ == "__main__":
    main()
