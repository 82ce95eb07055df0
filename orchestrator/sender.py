"""Writes down what is sent: code and packs first, then the record that makes them a submission.

Starts nothing: that is the backend's.
"""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.code import code_digest
from jobs.pack import Pack
from jobs.process import user_name
from jobs.trial import Trial
from jobs.whole_file import write_whole
from orchestrator.backends.base import Load, Lot, Submission, load_backend
from orchestrator.code_roots import code_roots
from orchestrator.packs import write_packs
from orchestrator.snapshot import code_files, copy_code
from orchestrator.status import Status
from orchestrator.study import Study


@dataclass(frozen=True)
class Request:
    """How trials are to be sent.

    `accept_change`: an edit may leave results behind. `new_code`: trials that go on from a
    checkpoint take the present code as well. `code_root` is a copy of the user's code that an
    earlier submission has made, None for the present code.
    """

    data_root: Path | None = None
    download: bool = False
    lanes: int | None = None
    break_lock: bool = False
    accept_change: bool = False
    new_code: bool = False
    code_root: Path | None = None

    @property
    def code_folder(self) -> Path:
        """Where the user's code is taken from: the folder in which thermolion runs, or a copy."""
        return self.code_root or Path.cwd()


@dataclass(frozen=True)
class Sender:
    """Writes down what is sent: code and packs first, then the record that makes them one."""

    study: Study
    status: Status
    request: Request

    def files(self, trials: Sequence[Trial]) -> Sequence[str] | None:
        """Return the user's files to copy, None where no trial needs them as they are now.

        Raises SweepError where they are too large.
        """
        if self.request.code_root is not None:
            return None
        present = Path("present")
        roots = code_roots(
            self.study,
            self.status,
            trials,
            present,
            self.request.new_code,
            self.request.code_folder,
        )
        if present not in roots.values():
            return None
        return code_files(Path.cwd(), self.study.layout)

    def write(
        self, trials: Sequence[Trial], files: Sequence[str] | None
    ) -> tuple[Submission, ...]:
        """Write submissions; one without its record, which comes last, has started nothing."""
        name = self._next_folder()
        code = self.request.code_root or self.study.layout.submission(name) / "code"
        if files is not None:
            copy_code(Path.cwd(), files, code)
        roots = code_roots(
            self.study, self.status, trials, code, self.request.new_code, self.request.code_folder
        )
        load = Load(
            self.study,
            trials,
            self.status.outcomes,
            self.status.lost,
            roots,
            self.request.lanes,
            goes_on=not self.status.stage.is_settled,
        )
        lots = load_backend(self.study.sweep.backend).arrange(load)
        return tuple(
            self._write(name if number == 0 else self._next_folder(), lot, roots)
            for number, lot in enumerate(lots)
        )

    def _roots(self, trials: Sequence[Trial], present: Path) -> Mapping[str, Path | None]:
        how = self.request
        return code_roots(self.study, self.status, trials, present, how.new_code, how.code_folder)

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
            lanes_asked=self.request.lanes,
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
