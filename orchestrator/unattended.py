"""Looks after a study once its jobs have ended: `python -m orchestrator.unattended ROOT STUDY`.

Run by the pool on this machine, and on SLURM by a small job that waits for the others, so that no
terminal has to stay open: sends again what the sweep says, takes the decisions that are due, sends
what they release, and sends notices. Waits for nothing. How it ended is told by `status`.
"""

import logging
import os
import sys
from pathlib import Path

from jobs.contract.layout import Layout
from jobs.contract.lock import LockHeld
from orchestrator.backends.recorded_site import with_recorded_site
from orchestrator.progress.status import read_status
from orchestrator.study.study import Study, open_study
from orchestrator.submit.notify import send_notices
from orchestrator.submit.submit import advance_unattended, send_remaining
from slurm.environment import read_job_id
from slurm.helper_record import begin_helper, end_helper
from slurm.hours_cap import record_helper
from slurm.waiting import retry_until
from thermolion.errors import InputError, ThermolionError

_log = logging.getLogger(__name__)


def main() -> int:
    """Look after the study that the command line names; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    root, name = Path(sys.argv[1]), sys.argv[2]
    layout = Layout(root, name)
    record = begin_helper(layout, read_job_id(os.environ))
    try:
        # By path: the current folder may have a file with the name of the study.
        study = with_recorded_site(open_study(str(layout.sweep), root))
        with record_helper(layout):
            failure = retry_until(lambda: _look_after(study))
    except ThermolionError as error:
        failure = error
    except Exception as error:
        end_helper(layout, record, f"{type(error).__name__}: {error}")
        raise
    end_helper(layout, record, None if failure is None else str(failure))
    if failure is None:
        return 0
    _log.error("%s", failure)
    return 2 if isinstance(failure, InputError) else 1


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
    sys.exit(main())
