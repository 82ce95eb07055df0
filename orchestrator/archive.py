"""Put a study away into one file, take it out again, or remove it. Never while a job lives."""

import hashlib
import shutil
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.layout import Layout
from jobs.lock import Lock
from jobs.whole_file import whole_file
from orchestrator.shelf import ARCHIVE, archive_path, jobs_alive, study_names
from orchestrator.sweep_file import SweepError, choices
from thermolion.errors import OperationError

_PATIENCE_S = 10  # a submit of the study takes seconds


class ArchiveError(OperationError):
    """An archive that does not hold what it should; nothing has been removed."""


def archive_study(root: Path, name: str, break_lock: bool = False) -> Path:
    """Write a study to `<root>/archive/`, read it back, and only then remove its folder.

    Raises SweepError where there is no such study, one of its jobs lives, or it has an archive.
    """
    layout = _known(root, name)
    path = archive_path(root, name)
    if path.exists():
        raise SweepError(f"{path} exists: restore it first, or move it away")
    with Lock(layout.lock, break_lock, wait_s=_PATIENCE_S):
        _require_idle(layout)
        path.parent.mkdir(exist_ok=True)
        with whole_file(path, replace=False) as draft:
            with tarfile.open(fileobj=draft, mode="w:gz") as tar:
                tar.add(layout.folder, name, filter=lambda member: _unlocked(member, layout))
            draft.flush()
            written = dict(_digests_in(Path(draft.name)))
            kept = dict(_digests_of(layout))
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
        names = [found.name.removesuffix(".tar.gz") for found in path.parent.glob("*.tar.gz")]
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
    layout = _known(root, name)
    if not sure:
        raise SweepError(
            f"--remove {name} deletes {layout.folder} with all its results: say --yes as well, or "
            f"put it away with --archive {name}"
        )
    with Lock(layout.lock, break_lock, wait_s=_PATIENCE_S):
        _require_idle(layout)
        shutil.rmtree(layout.folder)


def _known(root: Path, name: str) -> Layout:
    names = study_names(root)
    if name not in names:
        raise SweepError(f"{name!r} is no study below {root}: {choices(name, names)}")
    return Layout(root, name)


def _require_idle(layout: Layout) -> None:
    alive = jobs_alive(layout)
    if alive:
        raise SweepError(
            f"{alive} jobs of {layout.study!r} are alive: thermolion cancel {layout.study}, or "
            "wait for their end"
        )


def _unlocked(member: tarfile.TarInfo, layout: Layout) -> tarfile.TarInfo | None:
    """Leave out the lock that we hold ourselves."""
    return None if member.name == f"{layout.study}/{layout.lock.name}" else member


def _with_modes(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo:
    """Refuse whatever leads out of the folder; keep who may write (a group shares its root)."""
    checked = tarfile.data_filter(member, place)
    return checked.replace(mode=member.mode & 0o777, deep=False)


def _digests_in(archive: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # a tar member reads like a file


def _digests_of(layout: Layout) -> Mapping[str, str]:
    digests = {}
    for path in layout.folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path != layout.lock:
            with path.open("rb") as content:
                name = path.relative_to(layout.root).as_posix()
                digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests
