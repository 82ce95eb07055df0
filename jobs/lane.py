"""A lane: the process that runs the trials of a pack one after another, on one import of torch.

Started as `python -m jobs.lane PACK.json`. One trial's failure never touches its neighbours.
"""

import argparse
import json
import logging
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import torch

from jobs import breaker, environment, events, own
from jobs.attempts import Attempts, End
from jobs.context import Context, Diverged, Superseded
from jobs.discards import read_discards
from jobs.events import EventLog, LogError
from jobs.launch import Launch
from jobs.pack import Pack
from jobs.trial import Trial

EXIT_INTERRUPTED = 75  # "temporary failure; the user is invited to retry" (sysexits.h)
EXIT_HELD = 78  # "something was found in an unconfigured or misconfigured state" (sysexits.h)

_log = logging.getLogger(__name__)


def run_pack(pack: Pack, launch: Launch) -> int:
    """Run every trial of a pack that the stop flag leaves time for; return the exit code.

    0: every trial has ended, whatever its outcome. 75: interrupted. 78: held, because the first
    trials of the submission have all failed alike. 1: the log failed.
    """
    launch.make_deterministic()
    if pack.code_root is not None:
        own.add_to_path(pack.code_root)
    try:
        attempts = Attempts(pack.layout.events, read_discards(pack.layout))
        log = _open_log(pack, launch)
        held: dict[str, End] = {}
        for number, trial in enumerate(pack.trials, start=1):
            if launch.stop:
                break
            ends = attempts.look().ends(pack.submission)
            if attempts.is_done(trial.id):
                continue
            cause = breaker.cause(trial, ends, pack.patience)
            if cause is not None:
                held[trial.id] = cause
                continue
            _log.info("trial %d of %d: %s", number, len(pack.trials), trial.id)
            _run(trial, Context(trial, pack, launch, log, attempts))
        if held:
            _hold(held, log)
        log.append(events.CLOSED)
        log.close()
    except LogError as error:
        _log.error("%s", error)
        return 1
    if held:
        return EXIT_HELD
    return EXIT_INTERRUPTED if launch.stop else 0


def _run(trial: Trial, context: Context) -> None:
    launch = context.launch
    launch.make_deterministic(algorithms=not trial.workload.is_own)
    if launch.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        _attempt(trial, context)
    except Superseded as reason:
        _log.warning("%s: leaving it", reason)


def _attempt(trial: Trial, context: Context) -> None:
    """Train and log how it ends; raises Superseded where a newer attempt has taken over."""
    launch = context.launch
    try:
        metrics = own.door(trial.workload)(trial, context)
        if context.told_to_stop:
            context.interrupt(f"stopped by {launch.stop.reason}")
        else:
            context.end(metrics)
    except Diverged as divergence:
        context.end(divergence.metrics, diverged=str(divergence))
    except (LogError, Superseded):
        raise
    except (Exception, SystemExit) as error:  # what a trial raises is its outcome, not our end
        if launch.post_mortem:
            raise
        text = traceback.format_exc()
        message = f"{type(error).__name__}: {error}"
        if launch.stop:  # workers and children hear the signal, too, and take us along
            _log.warning("trial %s stopped by %s:\n%s", trial.id, launch.stop.reason, text)
            context.interrupt(f"stopped by {launch.stop.reason}: {message}")
            return
        _log.error("trial %s failed:\n%s", trial.id, text)
        context.fail(message, getattr(error, "kind", type(error).__name__), text)


def _hold(held: Mapping[str, End], log: EventLog) -> None:
    """Log which trials were left alone, by the failure that is why."""
    trials: dict[str | None, list[str]] = {}
    for trial, cause in held.items():
        trials.setdefault(cause.signature, []).append(trial)
    for alike in trials.values():
        example = held[alike[0]]
        _log.error("%d trials held, because the first ones failed: %s", len(alike), example.error)
        log.append(
            events.HELD,
            trials=alike,
            reason="the first trials of the submission failed alike",
            error=example.error,
            traceback=example.traceback,
        )


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
            **environment.describe(launch.device, pack.code),
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
