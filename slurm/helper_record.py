"""The record of what looks after a study: which process or job it is, and how it has ended.

One file a study. The sender of a helper job writes its id, the helper itself the rest; a `submit`
of the user takes over, and clears it. Asks SLURM nothing.
"""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.lock import Process

_NAME = "helper.json"


@dataclass(frozen=True)
class HelperRecord:
    """A helper: id, name and user of its job (None outside SLURM), and its process once it runs.

    `log` is the file of what it prints, None if nothing is known of it. `error` says in one line
    why it failed.
    """

    job: int | None = None
    name: str | None = None
    uid: int | None = None
    log: str | None = None
    process: Process | None = None
    has_ended: bool = False
    error: str | None = None

    @property
    def is_expected(self) -> bool:
        """True if its job should be in the queue, as far as it has said."""
        return None not in (self.job, self.name, self.uid) and not self.has_ended

    def describe_trouble(self, is_gone: bool) -> str | None:
        """Say what went wrong, None if nothing did; `is_gone`: its job is known to have ended."""
        which = "the process" if self.job is None else f"the job ({self.job})"
        went = f"{which} that looks after this study"
        is_dead = self.process is not None and self.job is None and not self.process.lives()
        if self.error is not None:
            why = f"has failed: {self.error}"
        elif not self.has_ended and (is_gone or is_dead):
            why = f"is gone before its end: {self._read_last_line()}"
        else:
            return None
        return f"{went} {why}; mend it, then `thermolion submit` goes on with the study"

    def _read_last_line(self) -> str:
        if self.log is None:
            return "nothing is known of it"
        path = Path(self.log)
        try:
            lines = path.read_text(errors="replace").split("\n")
        except OSError:
            return f"it has printed nothing (no {path})"
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1] if said else 'it has printed nothing'} ({path})"


def read_helper(layout: Layout) -> HelperRecord | None:
    """Return the record of a study's helper; None if nobody looks after it."""
    try:
        record = json.loads((layout.folder / _NAME).read_text())
    except (OSError, ValueError):  # cut off by a full disk: it is no more than a remark
        return None
    process = record.pop("process", None)
    known = {name: record.get(name) for name in ("job", "name", "uid", "log", "error")}
    begun = None if process is None else Process(**process)
    return HelperRecord(**known, process=begun, has_ended=bool(record.get("has_ended")))


def write_helper(layout: Layout, record: HelperRecord) -> None:
    """Write the record of the helper that is sent, begins or ends."""
    with contextlib.suppress(OSError):  # the disk is full: the study matters more
        write_atomically(layout.folder / _NAME, json.dumps(asdict(record), indent=1))


def note_sent(layout: Layout, record: HelperRecord) -> None:
    """Write down which job was sent, unless it has begun already and says so itself."""
    known = read_helper(layout)
    if known is None or known.job != record.job:
        write_helper(layout, record)


def begin_helper(layout: Layout, job: int | None) -> HelperRecord:
    """Write down that this process looks after a study, in the job of an id; return the record."""
    before = read_helper(layout)
    known = before if before is not None and before.job == job else HelperRecord(job=job)
    record = replace(known, process=Process.current(), has_ended=False, error=None)
    write_helper(layout, record)
    return record


def end_helper(layout: Layout, record: HelperRecord, error: str | None) -> None:
    """Write down how a helper has ended, unless another one was sent meanwhile."""
    now = read_helper(layout)
    if now is None or now.job == record.job:
        write_helper(layout, replace(record, has_ended=True, error=error))


def clear_helper(layout: Layout) -> None:
    """Forget the helper: its work was taken over."""
    (layout.folder / _NAME).unlink(missing_ok=True)
