"""A lane: the process that runs the trials of a pack one after another, on one import of torch.

Started as `python -m jobs.lane PACK.json`, once a rank. Rank 0 decides and writes, the others
follow. The failure of one trial never affects the next.
"""

import argparse
import json
import logging
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from jobs.contract import events
from jobs.contract.attempts import Attempts, LoggedEnd, find_common_failure, read_discards
from jobs.contract.events import EventLog, LogError
from jobs.contract.failures import classify_exception
from jobs.contract.pack import Pack
from jobs.contract.trial import Trial
from jobs.contract.workloads.catalog import is_dotted
from jobs.contract.workloads.workload import UserWorkload, Workload
from jobs.ranks.ending import Ending
from jobs.ranks.group import GroupBroken, RankGroup, RendezvousError
from jobs.ranks.launch import Launch, Rendezvous
from jobs.ranks.launcher_variables import forget_launcher
from jobs.user import function
from jobs.user.command import CommandError
from jobs.worker import machine
from jobs.worker.context import Context
from jobs.worker.device_check import find_fault
from jobs.worker.divergence_check import Diverged
from jobs.worker.fencing import FencedOut
from jobs.worker.journal import Journal, NullJournal

EXIT_FAILED = 1
EXIT_GPU_FAULT = 74  # "an error occurred while doing I/O" (sysexits.h)
EXIT_INTERRUPTED = 75  # "temporary failure; the user is invited to retry" (sysexits.h)
EXIT_HELD = 78  # "something was found in an unconfigured or misconfigured state" (sysexits.h)

_Fault = Literal["here", "elsewhere"]  # the GPU of this rank is broken, or that of another one

_log = logging.getLogger(__name__)


def run_pack(pack: Pack, launch: Launch) -> int:
    """Run the trials of a pack until they are done or a stop is asked for; return the exit code.

    0: every trial has ended, whatever its outcome. 75: interrupted. 78: held, because the first
    trials of the submission have all failed alike. 74: the GPU of this rank is broken, and what is
    left of the pack should run elsewhere. 1: the log failed, or ranks did not meet.
    """
    forget_launcher()
    launch.make_deterministic()
    if pack.code_root is not None:
        function.add_to_path(pack.code_root)
    try:
        group = _join(launch)
    except RendezvousError as error:
        _log.error("%s", error)
        return EXIT_FAILED
    try:
        fault = find_fault(launch.torch_device) if launch.device == "cuda" else None
        if fault is not None:
            _log.error("%s", fault)
            launch.on_gpu_fault(fault)
            return EXIT_GPU_FAULT
        return _lead(pack, launch, group) if group.rank == 0 else _follow(pack, launch, group)
    except LogError as error:
        _log.error("%s", error)
        return EXIT_FAILED
    except GroupBroken as reason:
        _log.error("rank %d leaves: %s", group.rank, reason)
        return EXIT_INTERRUPTED
    finally:
        group.leave()


def _join(launch: Launch) -> RankGroup:
    """Return the ranks of this lane; raises RendezvousError if they do not meet."""
    if launch.world_size == 1:
        return RankGroup()
    from jobs.ranks.ddp import DistributedGroup

    return DistributedGroup(launch)


def _lead(pack: Pack, launch: Launch, group: RankGroup) -> int:
    """Decide, trial by trial, what all ranks do, and log it; return the exit code."""
    attempts = Attempts(pack.layout.events, read_discards(pack.layout))
    journal = Journal(_open_log(pack, launch), attempts)
    held: dict[str, LoggedEnd] = {}
    fault: _Fault | None = None
    for number, trial in enumerate(pack.trials, start=1):
        if launch.stop or group.has_lost_rank:
            break
        ends = journal.refresh().ends(pack.submission)
        if attempts.is_done(trial.id):
            continue
        cause = find_common_failure(trial, ends, pack.patience)
        if cause is not None:
            held[trial.id] = cause
            continue
        _log.info("trial %d of %d: %s", number, len(pack.trials), trial.id)
        group.broadcast(number)
        fault = _run(trial, Context(trial, pack, launch, group, journal))
        if fault is not None:  # what follows would fail here as well
            break
    if held:
        _hold(held, journal)
    journal.append(events.CLOSED)
    journal.close()
    is_stopped = launch.stop or group.has_lost_rank
    code = EXIT_HELD if held else EXIT_INTERRUPTED if is_stopped else 0
    if fault is not None:
        code = EXIT_INTERRUPTED
    if not group.has_lost_rank:
        group.broadcast_last(-code)
    return EXIT_GPU_FAULT if fault == "here" else code


def _follow(pack: Pack, launch: Launch, group: RankGroup) -> int:
    """Train the trials that rank 0 names, until it sends the exit code; return that."""
    while not group.has_lost_rank:
        number = group.broadcast()
        if number <= 0:
            return int(-number)
        trial = pack.trials[number - 1]
        if _run(trial, Context(trial, pack, launch, group, NullJournal())) == "here":
            return EXIT_GPU_FAULT
    return EXIT_INTERRUPTED


def _run(trial: Trial, context: Context) -> _Fault | None:
    """Run a trial, and log its end on rank 0; return where a GPU is broken, if that ended it."""
    launch = context.launch
    launch.make_deterministic(trial.workload.is_deterministic, fill=_runs_unknown_code(trial))
    if launch.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    own = _train(trial, context)
    fault: _Fault | None = "here" if _is_gpu_fault(own) else None
    if fault is not None:
        launch.on_gpu_fault(own.error)
    ending = context.group.end(own)
    if ending is None:
        return fault  # rank 0 logs it
    try:
        context.end(ending)
    except FencedOut as reason:
        _log.warning("%s: leaving it", reason)
    return fault or ("elsewhere" if _is_gpu_fault(ending) else None)


def _is_gpu_fault(ending: Ending) -> bool:
    is_failed = ending.state == "failed"
    return is_failed and classify_exception(ending.kind, ending.error) == "GPU_FAULT"


def _runs_unknown_code(trial: Trial) -> bool:
    """Return True unless the data set, the model and the optimizer are those that we know.

    Of these we have tested that they read no memory before they have written to it.
    """
    used = (trial.candidate.optimizer, *trial.workload.references.values())
    return isinstance(trial.workload, UserWorkload) or any(map(is_dotted, used))


def _train(trial: Trial, context: Context) -> Ending:
    """Train, and return how that has ended on this rank."""
    launch = context.launch
    try:
        metrics = _load_training(trial.workload)(trial, context)
        # The commands of other ranks do not ask at every step: they have to be told of a stop.
        abrupt = context.told_to_stop and trial.workload.command is not None
        if context.stopping.is_interrupted:
            why = f"stopped by {launch.stop.reason}"
            return Ending("interrupted", error=why, kind=launch.stop.kind, abrupt=abrupt)
        early = context.stopping.rung is not None
        return Ending("completed", metrics, weights=context.weights, abrupt=abrupt, early=early)
    except Diverged as divergence:
        # Without its weights: those that are not finite may differ in their bits between nodes.
        return Ending("diverged", error=str(divergence), abrupt=not divergence.on_all_ranks)
    except FencedOut as reason:
        return Ending("superseded", error=str(reason), abrupt=True)
    except LogError as error:
        return Ending("unlogged", error=str(error), abrupt=True)
    except (Exception, SystemExit) as error:  # the outcome of the trial, not the end of the lane
        if launch.post_mortem:
            raise
        if context.stopping.rung is not None and isinstance(error, SystemExit) and not error.code:
            return Ending("completed", abrupt=True, early=True)
        # Of a command only what it has printed says why; the frames would all be ours.
        text = "" if isinstance(error, CommandError) else traceback.format_exc()
        message = f"{type(error).__name__}: {error}".removesuffix(": ")
        if launch.stop:  # children get the signal, too, and their end may raise here
            _log.warning(
                "trial %s stopped by %s:\n%s", trial.id, launch.stop.reason, text or message
            )
            why = f"stopped by {launch.stop.reason}: {message}"
            return Ending("interrupted", error=why, kind=launch.stop.kind, abrupt=True)
        _log.error("trial %s failed:\n%s", trial.id, text or message)
        kind = getattr(error, "kind", type(error).__name__)
        return Ending("failed", None, message, kind, text, abrupt=True)


def _load_training(workload: Workload) -> function.Train:
    """Return the function that trains a workload; raises DataError if the user's is not found."""
    if isinstance(workload, UserWorkload):
        return function.load_training(workload)
    from jobs.images import loop

    return loop.train


def _hold(held: Mapping[str, LoggedEnd], journal: Journal) -> None:
    """Log which trials were not run, by the failure that is the cause."""
    by_failure: dict[str | None, list[str]] = {}
    for trial, cause in held.items():
        by_failure.setdefault(cause.signature, []).append(trial)
    for trials in by_failure.values():
        example = held[trials[0]]
        _log.error("%d trials held, because the first ones failed: %s", len(trials), example.error)
        journal.append(
            events.HELD,
            trials=trials,
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
            **({} if launch.job is None else {"job": launch.job}),
            **machine.describe(launch.device, pack.code),
        )
        return log


def main(arguments: list[str] | None = None) -> int:
    """Run the pack in a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.lane", description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="threads of this process")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rank", type=int, default=0, help="of this process")
    parser.add_argument("--ranks", type=int, default=1, help="that train one trial, all here")
    parser.add_argument("--meet", type=Path, help="a new file, by which the ranks meet")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    launch = Launch(
        device=chosen.device,
        threads=chosen.threads,
        rank=chosen.rank,
        world_size=chosen.ranks,
        local_rank=chosen.rank,
        local_world_size=chosen.ranks,
        rendezvous=None if chosen.meet is None else Rendezvous(chosen.meet),
        device_index=chosen.rank if chosen.device == "cuda" and chosen.ranks > 1 else None,
    )
    launch.stop.listen(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    pack = Pack.from_json(json.loads(chosen.pack.read_text()))
    return run_pack(pack, launch)


if __name__ == "__main__":
    sys.exit(main())
