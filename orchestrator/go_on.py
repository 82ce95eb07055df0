"""Goes on with a study where its jobs have ended: `python -m orchestrator.go_on ROOT STUDY`.

Started by the pool of this machine, or as a small job of a cluster, so that no terminal has to
stay open. Takes the decisions that are due and sends what they release.
"""

import logging
import sys
from pathlib import Path

from jobs.layout import Layout
from orchestrator.advance import go_on
from orchestrator.study import open_study

_log = logging.getLogger(__name__)


def main() -> None:
    """Go on with the study that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    root, name = Path(sys.argv[1]), sys.argv[2]
    # Not by name: this folder may have a file that is called so.
    sent = go_on(open_study(str(Layout(root, name).sweep), root))
    _log.info("nothing to go on with" if sent is None else f"{sent.trials} trials sent")


if __name__ == "__main__":
    main()
