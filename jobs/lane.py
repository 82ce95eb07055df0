"""A lane: the process that runs the trials of a pack one after another, on one import of torch.

Started as `python -m jobs.lane PACK.json`. One trial's failure never touches its neighbours.
"""

import argparse
import json
import logging
import signal
import sys
import traceback
from pathlib import Path

from jobs import data, environment, events
from jobs.events import EventLog, LogError
from jobs.launch import Launch
from jobs.pack import Pack
from jobs.train import run_trial
from jobs.trial import Trial

EXIT_INTERRUPTED = 75  # "temporary failure; the user is invited to retry" (sysexits.h)

_log = logging.getLogger(__name__)


def run_pack(pack: Pack, launch: Launch) -> int:
    """Run every trial of a pack that the stop flag leaves time for; return the exit code.

    0: every trial has ended, whatever its outcome. 75: interrupted. 1: the log failed.
    """
    launch.make_deterministic()
    if pack.code_root is not None:
        sys.path.append(str(pack.code_root))
    try:
        log = _open_log(pack, launch)
        for number, trial in enumerate(pack.trials, start=1):
            if launch.stop:
                break
            _log.info("trial %d of %d: %s", number, len(pack.trials), trial.id)
            _run(trial, pack, launch, log)
        log.append(events.CLOSED)
        log.close()
    except LogError as error:
        _log.error("%s", error)
        return 1
    return EXIT_INTERRUPTED if launch.stop else 0


def _run(trial: Trial, pack: Pack, launch: Launch, log: EventLog) -> None:
    workload = trial.workload
    try:
        dataset = data.load(
            workload.dataset,
            workload.dataset_options,
            pack.data_root,
            pack.download,
            launch.device,
        )
        run_trial(trial, dataset, launch, log)
    except LogError:
        raise
    except (Exception, SystemExit) as error:  # what a trial raises is its outcome, not our end
        text = traceback.format_exc()
        _log.error("trial %s failed:\n%s", trial.id, text)
        config = trial.to_json()  # a failure before `started` must still be known by its trial
        message = f"{type(error).__name__}: {error}"
        log.append(events.FAILED, trial.id, error=message, traceback=text, config=config)


def _open_log(pack: Pack, launch: Launch) -> EventLog:
    while True:
        attempt = events.next_attempt(pack.layout.events, pack.submission, pack.number)
        path = pack.layout.event_log(pack.submission, pack.number, attempt, launch.lane)
        try:
            log = EventLog(path, attempt)
        except FileExistsError:
            continue  # another attempt has just taken this number
        log.append(
            events.OPENED,
            submission=pack.submission,
            pack=pack.number,
            lane=launch.lane,
            **environment.describe(launch.device),
        )
        return log


def main(arguments: list[str] | None = None) -> int:
    """Run the pack in a file; the entry point of a job on this machine."""
    parser = argparse.ArgumentParser(prog="python -m jobs.lane", description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="threads of this process")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    launch = Launch(device=chosen.device, threads=chosen.threads)
    launch.stop.listen(signal.SIGTERM, signal.SIGINT)
    pack = Pack.from_json(json.loads(chosen.pack.read_text()))
    return run_pack(pack, launch)


if __name__ == "__main__":
    sys.exit(main())
