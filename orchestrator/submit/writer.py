"""Writes submissions: code and packs first, then the record that makes them one.

Starts nothing: that is the backend's.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.lock import user_name
from jobs.contract.pack import Pack
from jobs.contract.source_digest import code_digest
from jobs.contract.trial import Trial
from orchestrator.backends.base import Need, PlacementRequest, SubmissionPlan, backend_of
from orchestrator.backends.records import (
    Submission,
    next_number,
    write_packs,
    write_submission,
)
from orchestrator.progress.status import Status
from orchestrator.study.study import Study
from orchestrator.submit.code_snapshot import (
    choose_code_roots,
    copy_code,
    list_code_files,
    list_named_files,
    read_commit,
)
from orchestrator.submit.environments import find_links, link_environments


@dataclass(frozen=True)
class SendOptions:
    """How trials are to be sent.

    `accept_change`: an edit may leave results behind. `new_code`: trials that go on from a
    checkpoint take the present code as well. `by_hand`: the user has said `retry`, with so many
    times the memory and time that the trials had. `code_root` is a copy of the user's code that an
    earlier submission has made, None for the present code.
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
    code_root: Path | None = None
    commit: tuple[str | None, bool] | None = None

    @property
    def code_folder(self) -> Path:
        """The folder of the user's code: that in which thermolion runs, or a copy."""
        return self.code_root or Path.cwd()


@dataclass(frozen=True)
class Sender:
    """Writes the submissions of a study with the options of one `submit`."""

    study: Study
    status: Status
    options: SendOptions

    def files(self, trials: Sequence[Trial]) -> Sequence[str] | None:
        """Return the user's files to copy; None if no trial needs them as they are now.

        Raises SweepError if they are too large, and if a command would not find its program there.
        """
        if self.options.code_root is not None:
            return None
        present = Path("present")
        if present not in self._roots(trials, present).values():
            return None
        files = list_code_files(Path.cwd(), self.study.layout)
        self._find_links(files)
        return files

    def write(
        self, trials: Sequence[Trial], files: Sequence[str] | None
    ) -> tuple[Submission, ...]:
        """Write submissions; the record comes last, and without it none has started anything."""
        name = self._next_folder()
        code = self.options.code_root or self.study.layout.submission(name) / "code"
        if files is not None:
            copy_code(Path.cwd(), files, code)
            link_environments(Path.cwd(), self._find_links(files), code)
        request = self.placement_request(trials, code)
        plans = backend_of(self.study.sweep.keys).place(request)
        return tuple(
            self._write(name if number == 0 else self._next_folder(), plan, request)
            for number, plan in enumerate(plans)
        )

    def _find_links(self, files: Sequence[str]) -> set[str]:
        commands = [one.command for one in self.study.sweep.workloads if one.command is not None]
        return find_links(Path.cwd(), files, commands)

    def keep_cap(self, trials: Sequence[Trial]) -> str | None:
        """Take down the study's cap of hours; return why none of some trials can be sent."""
        backend = backend_of(self.study.sweep.keys)
        capped = trials and self.study.sweep.keys.limits.is_capped
        plans = backend.place(self.placement_request(trials, Path.cwd())) if capped else ()
        return backend.keep_cap(self.study, plans)

    def placement_request(self, trials: Sequence[Trial], code: Path) -> PlacementRequest:
        """Return what a backend has to know of some trials; their present code will lie in `code`.

        The study is looked after at its end if anything follows: a retry, a decision, a notice.
        """
        sweep, status = self.study.sweep, self.status
        follows = sweep.keys.failures.unattended or not status.stage.is_settled
        return PlacementRequest(
            self.study,
            trials,
            status.outcomes,
            status.lost,
            self._roots(trials, code),
            self.options.lanes,
            {trial.id: self._need(trial) for trial in trials},
            status.bad_nodes,
            unattended=follows or sweep.keys.notify is not None,
        )

    def _roots(self, trials: Sequence[Trial], present: Path) -> Mapping[str, Path | None]:
        how = self.options
        return choose_code_roots(
            self.study, self.status, trials, present, how.new_code, how.code_folder
        )

    def _need(self, trial: Trial) -> Need:
        """Return what a trial is given beyond what the sweep says."""
        how, trial_status = self.options, self.status.planned.get(trial.id)
        failure = None if trial_status is None else trial_status.failure
        need = Need() if failure is None else failure.need
        if not how.by_hand:
            return need
        # Without a delay, since the user has mended it, and by the factor that the user gives.
        mem = need.mem
        if how.mem != 1 and failure is not None and failure.kind == "OOM_HOST":
            mem /= self.study.sweep.keys.failures.oom_host.mem
        return Need(mem * how.mem, need.time * how.time)

    def _write(self, name: str, plan: SubmissionPlan, request: PlacementRequest) -> Submission:
        sweep, folder = self.study.sweep, self.study.layout.submission(name)
        packs = enumerate(plan.packs)
        write_packs([self._pack(name, number, pack, request.code) for number, pack in packs])
        commit, dirty = self.options.commit or read_commit(Path.cwd())
        submission = Submission(
            id=name,
            backend=sweep.keys.backend,
            packs=len(plan.packs),
            lanes=plan.lanes,
            threads=sweep.keys.resources.cpus_per_task,
            device=sweep.keys.resources.device,
            user=user_name(),
            host=socket.gethostname(),
            time_ms=time.time_ns() // 1_000_000,
            request=plan.backend_request(folder),
            lanes_asked=self.options.lanes,
            scale=plan.scale,
            by_hand=self.options.by_hand,
            unattended=request.unattended,
            commit=commit,
            dirty=dirty,
        )
        write_submission(folder, submission)
        return submission

    def _pack(
        self, name: str, number: int, trials: Sequence[Trial], code: Mapping[str, Path | None]
    ) -> Pack:
        data_root, code_root = self.options.data_root, code[trials[0].id]
        return Pack(
            layout=self.study.layout,
            submission=name,
            number=number,
            trials=tuple(trials),
            data_root=None if data_root is None else data_root.absolute(),
            download=self.options.download,
            code_root=code_root,
            code=code_digest(code_root, list_named_files(self.study.sweep)),
            checkpoint_every_s=self.study.sweep.keys.checkpoint.every,
            keep=self.study.sweep.keys.checkpoint.keep,
            usage=self.study.sweep.keys.system_metrics,
        )

    def _next_folder(self) -> str:
        """Create the folder of the next submission and return its name."""
        name = f"{next_number(self.study.layout):04d}"
        self.study.layout.submission(name).mkdir(parents=True)
        return name
