"""The studies below a root: list them, archive, restore or remove one.

Listing reads no evaluation and opens no checkpoint, so that a root of many studies takes no time.
Never archives or removes a study while one of its jobs lives.
"""

import hashlib
import json
import os
import shutil
import tarfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.contract import events
from jobs.contract.atomic_write import open_atomically
from jobs.contract.attempts import read_discards
from jobs.contract.layout import Layout
from jobs.contract.lock import Lock
from jobs.contract.quantities import are, quantity
from orchestrator.backends.base import find_unseen
from orchestrator.backends.records import read_submissions
from orchestrator.progress.status import STATES, find_living_packs, read_status
from orchestrator.study.estimate import in_words
from orchestrator.study.stage import read_stage
from orchestrator.study.study import Study, open_study
from orchestrator.sweep.document import SweepError, choices
from slurm.submission import read_slurm_submissions
from thermolion.errors import OperationError, ThermolionError
from tracking.columns import columns

ARCHIVE = "archive"
_SUFFIX = ".tar.gz"
_EVALUATED = f'"type":"{events.EVALUATED}"'.encode()
_TYPE_WITHIN = 64  # bytes: the type is the second field of a line
_STATES = {
    events.STARTED: "lost",  # unless more follows: no job of the study lives
    events.COMPLETED: "completed",
    events.DIVERGED: "diverged",
    events.FAILED: "failed",
    events.INTERRUPTED: "interrupted",
    events.HELD: "held",
}
_FINAL = ("completed", "diverged")
_PATIENCE_S = 10  # a submit of the study takes seconds


class ArchiveError(OperationError):
    """An archive that does not hold what it should; nothing has been removed."""


@dataclass(frozen=True)
class StudySummary:
    """One study of a root: trials by state, its size in bytes, and when it was last heard of.

    `last_event_s` is the age of its last event, None if it has none. `error` says why the states
    of its trials are not known; an `archived` study is a file, which is not opened. `unseen` says
    why nobody knows if its jobs live: they are counted as `jobs_alive` all the same. Those that
    are recorded and not with the scheduler yet are `jobs_unsent`.
    """

    name: str
    states: Mapping[str, int]
    size_bytes: int
    last_event_s: float | None
    jobs_alive: int
    error: str | None = None
    archived: bool = False
    unseen: str | None = None
    jobs_unsent: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def format_studies(studies: Sequence[StudySummary]) -> str:
    """Return a line a study: its name, its size, when it was last heard of, and how far it is."""
    return columns([_cells(one) for one in studies], right=(1, 2))


def _cells(one: StudySummary) -> tuple[str, str, str, str]:
    if one.archived:
        states = "archived"
    elif one.error is not None:
        states = f"damaged: {one.error}"
    else:
        states = ", ".join(f"{count} {state}" for state, count in one.states.items())
    jobs = f", {quantity(one.jobs_alive, 'job')} alive" if one.jobs_alive else ""
    if one.jobs_alive and one.unseen is not None:
        jobs = f", {quantity(one.jobs_alive, 'job')} of which nobody knows here ({one.unseen})"
    jobs += f", {quantity(one.jobs_unsent, 'job')} not sent yet" if one.jobs_unsent else ""
    last = "" if one.last_event_s is None else f"{in_words(one.last_event_s)} ago"
    return one.name, _format_size(one.size_bytes), last, states + jobs


def list_studies(root: Path) -> list[StudySummary]:
    """Return the studies of a root by name, then the archived ones; none is left out."""
    studies = [_summarize(Layout(root, name)) for name in study_names(root)]
    archives = sorted((root / ARCHIVE).glob(f"*{_SUFFIX}"))
    return studies + [
        StudySummary(a.name.removesuffix(_SUFFIX), {}, a.stat().st_size, None, 0, archived=True)
        for a in archives
    ]


def study_names(root: Path) -> list[str]:
    """Return the names of the folders with a sweep, or with at least something recorded."""
    marks = ("sweep.yaml", "submissions", "events")
    return sorted(
        folder.name
        for folder in root.glob("*")
        if folder.name != ARCHIVE and any((folder / mark).exists() for mark in marks)
    )


def archive_path(root: Path, name: str) -> Path:
    """Return the file that holds an archived study."""
    return root / ARCHIVE / f"{name}{_SUFFIX}"


def jobs_alive(layout: Layout) -> int:
    """Return how many jobs of a study live; raises BackendError for a damaged record."""
    return sum(map(len, find_living_packs(layout, read_submissions(layout)).values()))


def _summarize(layout: Layout) -> StudySummary:
    size = sum(_list_sizes(layout.folder))
    written_s = [log.stat().st_mtime for log in layout.events.glob("*.jsonl")]
    age = max(0.0, time.time() - max(written_s)) if written_s else None
    alive, unsent, unseen = 0, 0, None
    try:
        alive = jobs_alive(layout)
        unsent = min(alive, sum(len(one.unsent()) for one in read_slurm_submissions(layout)))
        unseen = find_unseen(layout, read_submissions(layout)) if alive else None
        study = open_study(layout.study, layout.root)
        if study.name != layout.study:
            raise SweepError(f"its sweep is that of a study {study.name!r}")
        # Only the packs tell which trials a living job carries.
        states = read_status(study).counts if alive else _count_states(study)
    except (ThermolionError, OSError, ValueError, KeyError) as error:
        return StudySummary(layout.study, {}, size, age, alive, error=str(error))
    alive -= unsent
    return StudySummary(layout.study, states, size, age, alive, unseen=unseen, jobs_unsent=unsent)


def _count_states(study: Study) -> dict[str, int]:
    """Count the states of a study without a living job."""
    discarded = read_discards(study.layout)
    stage, trials = read_stage(study)
    planned = {trial.id for trial in trials}
    last: dict[str, tuple[int, str]] = {}
    for log in sorted(study.layout.events.glob("*.jsonl")):
        now = 0
        for record in _read_records(log):
            now = max(now, record["time_ms"])
            state = _STATES.get(record["type"])
            if events.find_at_chance(record["type"], record):
                state = "completed"
            for trial in record.get("trials", [record["trial"]]) if state else ():
                if trial not in planned or log.name in discarded.get(trial, ()):
                    continue
                when, known = last.get(trial, (0, ""))
                if known not in _FINAL and (state in _FINAL or now >= when):
                    last[trial] = (now, str(state))
    counted = Counter(state for _, state in last.values())
    untouched = (stage.wanted(trial) for trial in trials if trial.id not in last)
    counted.update("waiting" if wanted == "now" else wanted for wanted in untouched)
    return {state: counted[state] for state in STATES if counted[state]}


def _read_records(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a log that are no evaluations."""
    data = log.read_bytes()
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        if _EVALUATED not in line[:_TYPE_WITHIN]:
            yield json.loads(line)


def _list_sizes(folder: Path) -> Iterator[int]:
    for inside, _, files in os.walk(folder):
        for name in files:
            try:
                yield os.lstat(os.path.join(inside, name)).st_size  # noqa: PTH118 - many of them
            except FileNotFoundError:
                continue  # deleted in this moment


def _format_size(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GB"


def archive_study(root: Path, name: str, break_lock: bool = False) -> Path:
    """Write a study to `<root>/archive/`, read it back, and only then remove its folder.

    Raises SweepError if there is no such study, one of its jobs lives, or it has an archive.
    """
    layout = _find_study(root, name)
    path = archive_path(root, name)
    if path.exists():
        raise SweepError(f"{path} exists: restore it first, or move it away")
    with Lock(layout.lock, break_lock, wait_s=_PATIENCE_S):
        _require_idle(layout)
        path.parent.mkdir(exist_ok=True)
        with open_atomically(path, replace=False) as draft:
            with tarfile.open(fileobj=draft, mode="w:gz") as tar:
                tar.add(layout.folder, name, filter=lambda member: _without_lock(member, layout))
            draft.flush()
            written = dict(_digest_archive(Path(draft.name)))
            kept = dict(_digest_folder(layout))
            if written != kept:
                differing = sorted(set(written.items()) ^ set(kept.items()))
                raise ArchiveError(
                    f"the archive does not hold {differing[0][0]} as it is on disk: {name!r} was "
                    "left as it is; see that nothing writes into it, then try again"
                )
        shutil.rmtree(layout.folder)
    return path


def restore_study(root: Path, name: str) -> Path:
    """Take a study out of its archive, which is removed once all of it is in place again."""
    path = archive_path(root, name)
    if not path.is_file():
        names = [found.name.removesuffix(_SUFFIX) for found in path.parent.glob(f"*{_SUFFIX}")]
        raise SweepError(f"no study {name!r} in {root / ARCHIVE}: {choices(name, names)}")
    layout = Layout(root, name)
    if layout.folder.exists():
        raise SweepError(f"{layout.folder} exists: archive or remove that study first")
    draft = root / f".{name}.{uuid.uuid4().hex}"
    try:
        with tarfile.open(path, "r:gz") as tar:
            tar.extractall(draft, filter=_with_modes)
        (draft / name).rename(layout.folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    path.unlink()
    return layout.folder


def remove_study(root: Path, name: str, sure: bool, break_lock: bool = False) -> None:
    """Delete the folder of a study, and all its results with it; its runs in MLflow stay."""
    layout = _find_study(root, name)
    if not sure:
        raise SweepError(
            f"--remove {name} deletes {layout.folder} with all its results: say --yes as well, or "
            f"put it away with --archive {name}"
        )
    with Lock(layout.lock, break_lock, wait_s=_PATIENCE_S):
        _require_idle(layout)
        shutil.rmtree(layout.folder)


def _find_study(root: Path, name: str) -> Layout:
    names = study_names(root)
    if name not in names:
        raise SweepError(f"{name!r} is no study below {root}: {choices(name, names)}")
    return Layout(root, name)


def _require_idle(layout: Layout) -> None:
    alive = jobs_alive(layout)
    if alive:
        raise SweepError(
            f"{quantity(alive, 'job')} of {layout.study!r} {are(alive)} alive: "
            f"thermolion cancel {layout.study}, or wait for their end"
        )


def _without_lock(member: tarfile.TarInfo, layout: Layout) -> tarfile.TarInfo | None:
    """Leave out the lock that we hold ourselves."""
    return None if member.name == f"{layout.study}/{layout.lock.name}" else member


def _with_modes(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo:
    """Refuse whatever leads out of the folder; keep who may write (a group shares its root)."""
    checked = tarfile.data_filter(member, place)
    return checked.replace(mode=member.mode & 0o777, deep=False)


def _digest_archive(archive: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # a tar member reads like a file


def _digest_folder(layout: Layout) -> Mapping[str, str]:
    digests = {}
    for path in layout.folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path != layout.lock:
            with path.open("rb") as content:
                name = path.relative_to(layout.root).as_posix()
                digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests
