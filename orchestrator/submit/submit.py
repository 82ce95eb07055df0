"""Sends the trials of a study that are missing: the one way by which trials reach a backend."""

import contextlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from jobs.contract.layout import Layout
from jobs.contract.lock import Lock, LockHeld
from jobs.contract.quantities import are, quantity
from jobs.contract.trial import Trial
from orchestrator.backends.base import backend_of
from orchestrator.backends.recorded_site import with_recorded_site
from orchestrator.backends.records import (
    Submission,
    cancelled_file,
    find_former_root,
    read_pack,
    read_submissions,
)
from orchestrator.progress.status import Status, find_living_packs, read_status
from orchestrator.progress.sweep_diff import compare_with_recorded
from orchestrator.results.additions import list_additions
from orchestrator.results.confirm import record_attempt
from orchestrator.results.preregister import amend, freeze, freeze_again
from orchestrator.study.study import Study
from orchestrator.submit.decide import decide
from orchestrator.submit.preflight import check_before_start
from orchestrator.submit.writer import Sender, SendOptions
from orchestrator.sweep.document import SweepError
from slurm.helper_record import clear_helper, read_helper
from slurm.slurm_errors import NoAnswer
from thermolion.errors import OperationError

_PATIENCE_S = 10  # another submit of the study takes seconds

Choose = Callable[[Status], Sequence[Trial]]


@dataclass(frozen=True)
class SubmitResult:
    """What `submit` did: `submissions` is empty if nothing was to be sent.

    `at_a_time` of its trials run at once. `left` counts the trials that wait for `retry`; `notes`
    say what an edit of the sweep hides, and what of it is for exploration only. `held` says why
    nothing was sent although trials are missing: the study's cap of hours has no room for them.
    """

    submissions: tuple[Submission, ...]
    trials: int
    in_flight: int
    done: int
    left: int
    notes: tuple[str, ...] = ()
    at_a_time: int = 0
    held: str | None = None


def submit_study(
    study: Study,
    options: SendOptions,
    choose: Choose = lambda status: status.missing,
    tell: Callable[[str], None] | None = None,
) -> SubmitResult:
    """Send the trials that `choose` picks, by default all that are missing.

    Returns once they are sent; `tell` is given what the user should know before. Raises SweepError
    or DataError before anything is started, LockHeld if another submit of the study is under way.
    """
    study.layout.folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock_study(study, options.break_lock):
            for submission in read_submissions(study.layout) if options.break_lock else ():
                backend_of(submission).give_up(study.layout, submission)
            return _submit(study, options, choose, tell)
    finally:
        with contextlib.suppress(OSError):  # not empty, if anything was sent
            study.layout.folder.rmdir()


def _submit(
    study: Study, options: SendOptions, choose: Choose, tell: Callable[[str], None] | None
) -> SubmitResult:
    status = read_status(study)
    _check_place(study, status)
    notes = _check_edit(study, status, options.accept_change)
    while decide(study, status):
        status = read_status(study)
    if amend(study, status.stage) is not None:
        check_sendable(study, status, [*status.missing, *status.later], options)
        freeze_again(study, status.stage, status.outcomes)
        status = read_status(study)
    if (additions := list_additions(study, status.stage)) is not None:
        notes += (str(additions),)
    notes += tuple(backend_of(study.sweep.keys).remarks(study))
    if tell is not None:
        for note in notes:
            tell(note)
    _remove_leftovers(study, status)
    chosen = choose(status)
    # What follows later is checked as well: the present code is copied with the first submission.
    later = status.later if chosen else []
    check_sendable(study, status, [*chosen, *later], options)
    in_flight = sum(s.in_flight and not s.outcome.has_result for s in status.planned.values())
    sending = {trial.id for trial in chosen}
    left = sum(s.outcome.trial.id not in sending for s in status.left_alone)
    sender = Sender(study, status, options)
    held = sender.keep_cap(chosen)
    if held is not None:
        return SubmitResult((), 0, in_flight, status.done, left, notes, held=held)
    files = sender.files([*chosen, *later])
    record_attempt(study)
    study.record()
    if any(trial.phase == "compare" for trial in chosen):
        freeze(study, status.stage, status.outcomes)
    submissions = sender.write(chosen, files) if chosen else ()
    _start(study.layout, submissions)
    helper = read_helper(study.layout)
    if helper is not None and helper.job is None:
        clear_helper(study.layout)  # what it had to do is done; that of a job is known to SLURM
    lanes = sum(submission.lanes for submission in submissions)
    trials = lanes // max((trial.world_size for trial in chosen), default=1)
    most = min(max(1, trials), study.sweep.keys.limits.concurrent or lanes)
    return SubmitResult(submissions, len(chosen), in_flight, status.done, left, notes, most)


def _remove_leftovers(study: Study, status: Status) -> None:
    """Remove checkpoints of finished trials, which are left if a lane dies right after the end.

    None is removed if a submission of the study was to keep them.
    """
    finished = {
        trial
        for trial, one in status.planned.items()
        if one.outcome.has_result and not one.in_flight
    }
    left = [path for path in study.layout.checkpoints.glob("*.pt") if path.stem in finished]
    if left and not any(
        read_pack(study.layout, submission.id, 0).keep == "last"
        for submission in read_submissions(study.layout)
    ):
        for path in left:
            path.unlink(missing_ok=True)


def send_remaining(study: Study) -> None:
    """Send what earlier submissions have left to send.

    Leaves it to a later call if another submit is under way, or SLURM does not answer.
    """
    backends = set(map(backend_of, read_submissions(study.layout)))
    if not any(backend.waits(study.layout) for backend in backends):
        return
    with contextlib.suppress(LockHeld, NoAnswer), Lock(study.layout.lock):
        _start(study.layout, ())


def advance_unattended(study: Study) -> SubmitResult | None:
    """Take the decisions that are due and send what follows; return None if nothing was sent.

    That is what the decisions release and, with `failures: {unattended: true}`, what the policy
    sends again. What was cancelled waits for the user's `submit`, and so does all of a study of
    which somebody else has cancelled a job. Raises LockHeld if another submit takes longer than a
    while.
    """
    # Once the lock is ours, what another submit has recorded has been started as well.
    with lock_study(study):
        before, submissions = read_status(study), read_submissions(study.layout)
    again = study.sweep.keys.failures.unattended
    due = not before.stage.is_settled or (again and before.missing) or before.jobs_alive
    if not submissions or not (due or _unsent(study, before)) or before.stopped_by_others:
        return None

    def follows(now: Status) -> Sequence[Trial]:
        if cancelled_file(study.layout, submissions[-1].id).exists() or now.stopped_by_others:
            return []
        return now.missing if again and not now.jobs_alive else _unsent(study, now)

    # If jobs still live, one of them was requeued: the next submission waits for their end.
    sent = submit_study(study, _repeat_options(study.layout, submissions[-1]), follows)
    return sent if sent.submissions else None


def release_stopped(study: Study, trials: Container[str]) -> int:
    """Send again those of some trials whose job somebody else has cancelled; return their number.

    It is a person who says so; as they were sent before.
    """

    def stopped(status: Status) -> list[Trial]:
        return [trial for trial in status.stopped_by_others if trial.id in trials]

    submissions = read_submissions(study.layout)
    if not submissions or not stopped(read_status(study)):
        return 0
    options = _repeat_options(study.layout, submissions[-1])
    return submit_study(with_recorded_site(study), options, stopped).trials


def _unsent(study: Study, status: Status) -> list[Trial]:
    """Return what no submission has carried yet: its sender may have died after the decision."""
    fresh = {trial.id: trial for trial in status.missing}
    for submission in read_submissions(study.layout) if fresh else ():
        for pack in range(submission.packs):
            for trial in read_pack(study.layout, submission.id, pack).trials:
                fresh.pop(trial.id, None)
    return list(fresh.values())


def _repeat_options(layout: Layout, last: Submission) -> SendOptions:
    """Return options with the data, lanes and code of the last submission."""
    pack = read_pack(layout, last.id, 0)
    return SendOptions(
        pack.data_root,
        pack.download,
        last.lanes_asked,
        code_root=max(layout.submissions.glob("*/code"), default=None),
        commit=(last.commit, last.dirty),
    )


def _start(layout: Layout, new: Sequence[Submission]) -> None:
    for backend in dict.fromkeys(map(backend_of, (*read_submissions(layout), *new))):
        backend.submit(layout, [one for one in new if backend_of(one) is backend])


def check_sendable(
    study: Study, status: Status, trials: Sequence[Trial], options: SendOptions
) -> tuple[str, ...]:
    """Raise SweepError or DataError if some trials cannot be sent; return notes for the user."""
    notes = _check_edit(study, status, options.accept_change)
    if trials:
        check_before_start(
            study,
            trials,
            options.data_root,
            options.download,
            options.code_folder,
            status.outcomes,
        )
    return notes


def lock_study(study: Study, break_lock: bool = False) -> Lock:
    """Return the lock that every process holds that writes into a study."""
    return Lock(study.layout.lock, break_lock, wait_s=_PATIENCE_S)


def cancel_study(study: Study) -> int:
    """Stop every living job of a study cleanly; return how many submissions were stopped.

    Nothing is sent after their end, even if all have ended by now. Raises BackendError or
    SlurmError for a submission that cannot be stopped, after the others are; if none could, the
    study goes on as if nobody had said so.
    """
    stopped = 0
    out_of_reach: OperationError | None = None
    submissions = read_submissions(study.layout)
    mark = cancelled_file(study.layout, submissions[-1].id) if submissions else None
    is_new = mark is not None and not mark.exists()
    if mark is not None:
        mark.touch()
    living = find_living_packs(study.layout, submissions)
    for submission in (one for one in submissions if one.id in living):
        try:
            backend_of(submission).cancel(study.layout, submission)
            stopped += 1
        except OperationError as error:
            out_of_reach = error
    if out_of_reach is not None:
        if mark is not None and is_new and not stopped:
            mark.unlink(missing_ok=True)
        raise out_of_reach
    return stopped


def _check_place(study: Study, status: Status) -> None:
    """Raise SweepError if jobs are alive that write to where the study was before it was moved."""
    before = find_former_root(study.layout, read_submissions(study.layout))
    alive = status.jobs_alive
    if before is not None and alive:
        raise SweepError(
            f"{study.name!r} was moved, and {quantity(alive, 'job')} of it {are(alive)} alive, "
            f"sent from {before} and writing there: move it back, or thermolion cancel "
            f"{study.name} first"
        )


def _check_edit(study: Study, status: Status, accept: bool) -> tuple[str, ...]:
    """Return notes on an edit of the sweep; raise SweepError if it orphans results."""
    change = compare_with_recorded(study, status)
    if change is None:
        return ()
    if change.orphaned and not accept:
        raise SweepError(change.refusal(study.name))
    notes = [change.removal()] if change.removed else []
    if status.strays:
        notes.append(
            f"{quantity(status.strays, 'trial')} that this sweep does not ask for "
            f"{are(status.strays)} still with living jobs: thermolion cancel {study.name}, "
            "then submit, to be rid of them"
        )
    return tuple(notes)
