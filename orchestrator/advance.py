"""Send what is missing: the one way by which trials reach a backend, first time or hundredth."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.code import code_digest
from jobs.layout import Layout
from jobs.lock import Lock, LockHeld
from jobs.pack import Pack
from jobs.process import user_name
from jobs.trial import Trial
from jobs.whole_file import write_whole
from orchestrator.backends.base import (
    BackendError,
    Load,
    Lot,
    Submission,
    job_states,
    load_backend,
    read_submissions,
)
from orchestrator.change import since_recorded
from orchestrator.code_roots import code_roots
from orchestrator.failures import Need
from orchestrator.packs import write_packs
from orchestrator.preflight import check_before_start
from orchestrator.snapshot import code_files, copy_code
from orchestrator.status import Status, read_status
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError
from slurm.errors import NoAnswer

_PATIENCE_S = 10  # another submit of the study takes seconds

Choose = Callable[[Status], Sequence[Trial]]


@dataclass(frozen=True)
class Request:
    """How trials are to be sent.

    `accept_change`: an edit may leave results behind. `new_code`: trials that go on from a
    checkpoint take the present code as well. `by_hand`: the user has said `retry`, with so many
    times the memory and time that the trials had. `code`: a snapshot to take instead of the code
    of the folder in which we are.
    """

    data_root: Path | None = None
    download: bool = False
    lanes: int | None = None
    break_lock: bool = False
    accept_change: bool = False
    new_code: bool = False
    by_hand: bool = False
    mem: float = 1.0
    time: float = 1.0
    code: Path | None = None


@dataclass(frozen=True)
class Sent:
    """What `submit` did: `submissions` is empty where nothing was to be sent.

    `at_a_time` of its trials run at once. `left` are those that wait for `retry`; `notes` say what
    an edit of the sweep hides.
    """

    submissions: tuple[Submission, ...]
    trials: int
    in_flight: int
    done: int
    left: int
    notes: tuple[str, ...] = ()
    at_a_time: int = 0


def submit(study: Study, request: Request, choose: Choose = lambda status: status.missing) -> Sent:
    """Send the trials that `choose` picks: what has neither a result, a living job nor a failure.

    Returns once they are sent. Raises SweepError or DataError before anything is started,
    LockHeld where another submit of the study is under way.
    """
    study.layout.folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(study, request.break_lock):
            return _submit(study, request, choose)
    finally:
        with contextlib.suppress(OSError):  # it holds something, as soon as something was sent
            study.layout.folder.rmdir()


def _submit(study: Study, request: Request, choose: Choose) -> Sent:
    status = read_status(study)
    chosen = choose(status)
    notes = check(study, status, chosen, request)
    in_flight = sum(s.in_flight and not s.outcome.has_result for s in status.planned.values())
    sending = {trial.id for trial in chosen}
    left = sum(standing.outcome.trial.id not in sending for standing in status.left_alone)
    sender = _Sender(study, status, request)
    files = sender.files(chosen)
    study.record()
    submissions = sender.write(chosen, files) if chosen else ()
    _start(study.layout, submissions)
    lanes = sum(submission.lanes for submission in submissions)
    trials = lanes // max((trial.world_size for trial in chosen), default=1)
    most = min(max(1, trials), study.sweep.concurrent or lanes)
    return Sent(submissions, len(chosen), in_flight, status.done, left, notes, most)


def needs(
    status: Status, trials: Sequence[Trial], study: Study, request: Request
) -> Mapping[str, Need]:
    """Return what trials are given beyond what the sweep says, by id."""
    found = {}
    for trial in trials:
        failure = status.planned[trial.id].failure if trial.id in status.planned else None
        need = Need() if failure is None else failure.need
        if request.by_hand:  # now, since the user has mended it, and by the factor that he says
            grown = study.sweep.failures.memory_factor
            told = request.mem != 1 and failure is not None and failure.kind == "OOM_HOST"
            mem = need.mem / grown if told else need.mem
            need = Need(mem * request.mem, need.time * request.time)
        found[trial.id] = need
    return found


def feed(study: Study) -> None:
    """Send what earlier submissions have left to send, or leave it to a later call.

    That is where another submit is at it, or nobody answers at the moment.
    """
    names = {submission.backend for submission in read_submissions(study.layout)}
    if not any(load_backend(name).waits(study.layout) for name in names):
        return
    with contextlib.suppress(LockHeld, NoAnswer), Lock(study.layout.lock):
        _start(study.layout, ())


def _start(layout: Layout, new: Sequence[Submission]) -> None:
    names = dict.fromkeys(submission.backend for submission in (*read_submissions(layout), *new))
    for name in names:
        load_backend(name).submit(layout, [s for s in new if s.backend == name])


def check(
    study: Study, status: Status, trials: Sequence[Trial], request: Request
) -> tuple[str, ...]:
    """Raise SweepError or DataError for what speaks against sending; return what is to be said."""
    notes = _accept(study, status, request.accept_change)
    if trials:
        check_before_start(study, trials, request.data_root, request.download)
    return notes


def locked(study: Study, break_lock: bool = False) -> Lock:
    """Return the lock that whoever writes into a study holds."""
    return Lock(study.layout.lock, break_lock, wait_s=_PATIENCE_S)


def cancel(study: Study) -> int:
    """Stop every living job of a study cleanly; return how many submissions were stopped.

    Raises BackendError, after all the others are stopped, for one that cannot be from here.
    """
    stopped = 0
    out_of_reach: BackendError | None = None
    submissions = read_submissions(study.layout)
    every = job_states(study.layout, submissions)
    for submission in submissions:
        if any(state != "ended" for state in every[submission.id].values()):
            try:
                load_backend(submission.backend).cancel(study.layout, submission)
                stopped += 1
            except BackendError as error:
                out_of_reach = error
    if out_of_reach is not None:
        raise out_of_reach
    return stopped


def _accept(study: Study, status: Status, accept: bool) -> tuple[str, ...]:
    """Return what to say of an edit of the sweep; raises SweepError if it orphans results."""
    change = since_recorded(study, status)
    if change is None:
        return ()
    if change.orphaned and not accept:
        raise SweepError(change.refusal(study.sweep.study))
    notes = [change.removal()] if change.removed else []
    if status.strays:
        notes.append(
            f"{status.strays} trials that this sweep does not ask for are still with living jobs: "
            f"thermolion cancel {study.sweep.study}, then submit, to be rid of them"
        )
    return tuple(notes)


@dataclass(frozen=True)
class _Sender:
    """Writes down what is sent: code and packs first, then the record that makes them one."""

    study: Study
    status: Status
    request: Request

    def files(self, trials: Sequence[Trial]) -> Sequence[str] | None:
        """Return the user's files to copy, None where no trial needs them as they are now.

        Raises SweepError where they are too large.
        """
        present = Path("present")
        roots = code_roots(self.study, self.status, trials, present, self.request.new_code)
        if present not in roots.values() or self.request.code is not None:
            return None
        return code_files(Path.cwd(), self.study.layout)

    def write(
        self, trials: Sequence[Trial], files: Sequence[str] | None
    ) -> tuple[Submission, ...]:
        """Write submissions; one without its record, which comes last, has started nothing."""
        name = self._next_folder()
        code = self.request.code or self.study.layout.submission(name) / "code"
        if files is not None:
            copy_code(Path.cwd(), files, code)
        roots = code_roots(self.study, self.status, trials, code, self.request.new_code)
        load = Load(
            self.study,
            trials,
            self.status.outcomes,
            self.status.lost,
            roots,
            self.request.lanes,
            needs(self.status, trials, self.study, self.request),
            self.status.bad_nodes,
        )
        lots = load_backend(self.study.sweep.backend).arrange(load)
        return tuple(
            self._write(name if number == 0 else self._next_folder(), lot, roots)
            for number, lot in enumerate(lots)
        )

    def _write(self, name: str, lot: Lot, code: Mapping[str, Path | None]) -> Submission:
        sweep, folder = self.study.sweep, self.study.layout.submission(name)
        write_packs(
            [self._pack(name, number, pack, code) for number, pack in enumerate(lot.packs)]
        )
        submission = Submission(
            id=name,
            backend=sweep.backend,
            packs=len(lot.packs),
            lanes=lot.lanes,
            threads=sweep.threads,
            device=sweep.device,
            user=user_name(),
            host=socket.gethostname(),
            time_ms=time.time_ns() // 1_000_000,
            request=lot.request(folder),
            scale=lot.scale,
            by_hand=self.request.by_hand,
            unattended=sweep.failures.unattended or sweep.notice is not None,
        )
        write_whole(folder / "submission.json", json.dumps(submission.to_json(), indent=1))
        return submission

    def _pack(
        self, name: str, number: int, trials: Sequence[Trial], code: Mapping[str, Path | None]
    ) -> Pack:
        data_root, code_root = self.request.data_root, code[trials[0].id]
        return Pack(
            layout=self.study.layout,
            submission=name,
            number=number,
            trials=tuple(trials),
            data_root=None if data_root is None else data_root.absolute(),
            download=self.request.download,
            code_root=code_root,
            code=code_digest(code_root),
            checkpoint_every_s=self.study.sweep.checkpoint_every_s,
            keep=self.study.sweep.keep,
        )

    def _next_folder(self) -> str:
        """Create the folder of the next submission; a number is never used twice."""
        submissions = self.study.layout.submissions
        taken = [int(path.name) for path in submissions.glob("*") if path.name.isdigit()]
        name = f"{max(taken, default=0) + 1:04d}"
        self.study.layout.submission(name).mkdir(parents=True)
        return name
