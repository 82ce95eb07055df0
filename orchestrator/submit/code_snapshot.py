"""The user's code: which trials name it, how it is imported, and its copy beside a submission.

A later edit changes no waiting job: its trials run the copy, and one that is resumed runs the copy
that it began with.
"""

import contextlib
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jobs.contract.code_files import NamedFiles
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from jobs.contract.workloads import catalog
from jobs.contract.workloads.workload import UserWorkload
from orchestrator.backends.records import read_pack
from orchestrator.progress.status import Status, TrialStatus
from orchestrator.study.study import Study
from orchestrator.submit.environments import find_environments, is_environment
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.sweep import Sweep

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MOST_BYTES = 50 * 2**20
MOST_FILES = 10_000
IGNORE_FILE = ".thermolionignore"
_NEVER = ("__pycache__", ".venv", "venv", "node_modules")

# Folders of ours that a user's project may have as well; `thermolion` is a distribution's name.
OUR_PACKAGES = ("jobs", "tracking", "slurm", "orchestrator")


def copy_code(source: Path, files: Iterable[str], target: Path) -> None:
    """Copy what `list_code_files` has listed to `target`, which must not exist."""
    target.mkdir(parents=True)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted in this moment
            shutil.copy2(source / name, target / name)


def list_code_files(source: Path, layout: Layout) -> Sequence[str]:
    """Return the files to copy, relative to `source`; what is recorded below a root is not.

    In a git work tree that is what git tracks or would track, elsewhere everything but hidden
    folders; never an environment (venv, conda). `.thermolionignore` leaves out more, in the
    patterns of a `.gitignore`. A link counts as the file or the folder that it leads to, wherever
    this lies.
    Raises SweepError if they are too large, if a link leads to a folder that it lies in, or if a
    line is no pattern.
    """
    recorded = [path.resolve() for path in _find_recorded(source.resolve(), layout)]
    ignored = _read_ignored(source)

    def is_left_out(name: str) -> bool:
        path = (source / name).resolve()
        if any(path.is_relative_to(place) for place in recorded):
            return True
        if not path.is_dir():
            return ignored.match_file(name)
        return is_environment(path) or ignored.match_file(f"{name}/")

    listed = list(_list_files(source, PurePosixPath(), (source.resolve(),), is_left_out))
    others = _find_other_studies(source, listed) | find_environments(listed)
    chosen = [
        name
        for name in listed
        if others.isdisjoint(_find_ancestors(name))
        and (source / name).is_file()
        and not is_left_out(name)
    ]
    _check_size(source, chosen)
    return sorted(chosen)


def list_named_files(sweep: Sweep) -> NamedFiles:
    """Return what a sweep says of files: to its trainings, and of the results that they write."""
    told: dict[str, None] = {}
    written: dict[str, None] = {}
    for workload in (one for one in sweep.workloads if isinstance(one, UserWorkload)):
        told |= dict.fromkeys([workload.command or "", *_find_texts(workload.options)])
        paths = [getattr(source, "path", None) for source in workload.results]
        written |= {path: None for path in paths if path is not None}
    for candidate in sweep.candidates:
        told |= dict.fromkeys(_find_texts(candidate.args))
    return NamedFiles(tuple(told), tuple(written))


def _find_texts(settings: Mapping[str, Any]) -> list[str]:
    return [value for value in settings.values() if isinstance(value, str)]


def read_commit(source: Path) -> tuple[str | None, bool]:
    """Return the commit of a folder, None outside of git, and True if it has edits since."""
    commit = _run_git(source, "rev-parse", "HEAD")
    if commit is None:
        return None, False
    return commit.strip(), bool(_run_git(source, "status", "--porcelain", "--", "."))


def _run_git(source: Path, *words: str) -> str | None:
    """Return what git prints in a folder; None if it fails, or is not installed."""
    try:
        run = subprocess.run(["git", *words], cwd=source, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return None if run.returncode else run.stdout.decode(errors="surrogateescape")


def _find_recorded(inside: Path, layout: Layout) -> list[Path]:
    """Return the paths that are no code: the root, or its parts if the code lies inside it."""
    if not inside.is_relative_to(layout.root.resolve()):
        return [layout.root]
    studies = [sweep.parent for sweep in layout.root.glob("*/sweep.yaml")]
    store = [layout.mlflow_store, layout.mlflow_artifacts, layout.root / "archive"]
    return [path for path in (layout.folder, *studies, *store) if path.resolve() != inside]


def _find_other_studies(source: Path, names: Iterable[str]) -> set[str]:
    """Return what is recorded below other roots: copies of the code, and so of all roots."""
    found: set[str] = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        study = source / folder
        if file == "sweep.yaml" and folder and (study / "submissions").is_dir():
            layout = Layout(study.parent, study.name)
            recorded = (layout.folder, layout.mlflow_store, layout.mlflow_artifacts)
            found.update(path.relative_to(source).as_posix() for path in recorded)
    return found


def _find_ancestors(name: str) -> Iterator[str]:
    """Yield the path of a file and those of the folders that it lies in."""
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _list_files(
    source: Path,
    below: PurePosixPath,
    opened: tuple[Path, ...],
    is_left_out: Callable[[str], bool],
) -> Iterator[str]:
    """Yield the files of the folder `below` the source, relative to the source.

    `opened` are the folders in which it lies that a link has led to, the source first.
    """
    listed = _run_git(source / below, "ls-files", "-z", "-co", "--exclude-standard")
    if listed:
        names: Iterable[str] = listed.rstrip("\0").split("\0")
        names = (name for name in names if not set(PurePosixPath(name).parts) & set(_NEVER))
    else:
        # A folder that git ignores altogether has no files for it, and may yet be the code.
        names = _walk(source / below)
    for name in map(str, (below / name for name in names)):
        path = source / name
        if not path.is_dir():
            yield name
        elif not is_left_out(name) and not (path.is_symlink() and path.name.startswith(".")):
            # A work tree inside this one (a submodule), or a link to a folder.
            inside = _follow(source, name, opened) if path.is_symlink() else opened
            found = _list_files(source, PurePosixPath(name), inside, is_left_out)
            yield from _limit(source, name, found) if path.is_symlink() else found


def _follow(source: Path, link: str, opened: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the folders that are open in the one that a link leads to."""
    path = source / link
    target = path.resolve()
    if any(one.is_relative_to(target) for one in (*opened, path.parent.resolve())):
        raise SweepError(
            f"{path} is a link to {target}, a folder that it lies in, of which there is no copy: "
            f"name it in {source / IGNORE_FILE} if the training does not need it, or remove it"
        )
    return (*opened, target)


def _limit(source: Path, link: str, files: Iterator[str]) -> Iterator[str]:
    """Yield the files behind a link; raises SweepError if they alone are too many."""
    for number, name in enumerate(files):
        if number == MOST_FILES:
            raise SweepError(
                f"{source / link} is a link to {(source / link).resolve()}, a folder of more than "
                f"{MOST_FILES:,} files, and all code that a trial needs is copied: name the link "
                f"in {source / IGNORE_FILE}, and let the training read data by a path of their own"
            )
        yield name


def _walk(folder: Path) -> Iterator[str]:
    """Yield the files of a folder, and the links to folders, which are not entered."""
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _NEVER]
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(place) / name).relative_to(folder).as_posix()


def _read_ignored(source: Path) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec  # takes 20 ms, which `plan` has no use for

    path = source / IGNORE_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    spec = GitIgnoreSpec([])
    for number, line in enumerate(lines, 1):
        try:
            spec += GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error) as error:
            raise SweepError(
                f"{path}, line {number}: {line!r} is no pattern as a .gitignore has them"
            ) from error
    return spec


def _check_size(source: Path, files: Sequence[str]) -> None:
    sizes = {name: (source / name).stat().st_size for name in files}
    total = sum(sizes.values())
    if total <= MOST_BYTES and len(files) <= MOST_FILES:
        return
    bytes_by: Counter[str] = Counter()
    files_by: Counter[str] = Counter()
    for name, size in sizes.items():
        first, slash, _ = name.partition("/")
        if slash and (source / first).is_symlink():
            slash = f"/ -> {(source / first).resolve()}"
        bytes_by[first + slash] += size
        files_by[first + slash] += 1
    by = bytes_by if total > MOST_BYTES else files_by
    largest = [
        f"{name} ({bytes_by[name] / 2**20:.1f} MB, {files_by[name]} files)"
        for name, _ in by.most_common(3)
    ]
    raise SweepError(
        f"the code to copy, {source}, has {total / 2**20:.0f} MB in {len(files)} files; "
        f"{MOST_BYTES // 2**20} MB in {MOST_FILES:,} files are the most. The largest: "
        f"{', '.join(largest)}. Name what the training does not need in {source / IGNORE_FILE}, "
        "a pattern a line, or run thermolion from the folder of the code alone"
    )


def find_dotted_paths(trial: Trial) -> dict[str, str]:
    """Return the `module:name` paths that a trial names, by what they are.

    The optimizer of a command is none: its script interprets the name, and may run in an
    environment of its own.
    """
    if trial.workload.command is not None:
        return {}
    named = {**trial.workload.references, "optimizer": trial.candidate.optimizer}
    return {what: path for what, path in named.items() if catalog.is_dotted(path)}


def names_user_code(trial: Trial, folder: Path) -> bool:
    """Return True if a trial runs code that lies below `folder`, as any command may.

    A dotted path into an installed package (`torch.optim:Adagrad`) needs nothing of the folder.
    """
    if trial.workload.command is not None:
        return True
    return any(_lies_below(path, folder) for path in find_dotted_paths(trial).values())


def _lies_below(path: str, folder: Path) -> bool:
    place = folder.joinpath(*path.partition(":")[0].split("."))
    return place.with_name(f"{place.name}.py").is_file() or place.is_dir()


def find_clashes(folder: Path) -> list[Path]:
    """Return what one of ours hides of the user's: `jobs/lane.py`, `jobs/images/` and the like.

    Packages of equal name are no clash: modules are looked for in ours, then in theirs, but not in
    folders below. An `__init__.py` of theirs is never run.
    """
    return [
        module
        for package in OUR_PACKAGES
        for home in [_find_home(package)]
        if (folder / package).is_dir() and not (folder / package).samefile(home)
        for module in sorted((folder / package).iterdir())
        if module.stem not in ("__init__", "__main__", "__pycache__")
        and (module.suffix == ".py" or next(module.rglob("*.py"), None) is not None)
        and ((home / f"{module.stem}.py").is_file() or (home / module.stem).is_dir())
    ]


@contextlib.contextmanager
def make_importable(folder: Path) -> Iterator[None]:
    """Let modules of `folder` be imported after all others, as in a lane; unload them at the end.

    The next call, from another folder, would otherwise find the modules of this one.
    """
    before = set(sys.modules)
    paths = [sys.path, *(importlib.import_module(package).__path__ for package in OUR_PACKAGES)]
    kept = [list(path) for path in paths]
    sys.path.append(str(folder))
    for package, path in zip(OUR_PACKAGES, paths[1:], strict=True):
        if (folder / package).is_dir():
            path.append(str(folder / package))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path, entries in zip(paths, kept, strict=True):
            path[:] = entries
        for name in set(sys.modules) - before:
            if _is_from(folder, name):
                _unload(name)


def _is_from(folder: Path, name: str) -> bool:
    """Return True if a module was loaded from `folder` and is none of ours."""
    # A checkout of thermolion itself is a folder with our own packages.
    package = name.partition(".")[0]
    ours = package in (*OUR_PACKAGES, "thermolion") and (folder / package).is_dir()
    if ours and (folder / package).samefile(_find_home(package)):
        return False
    module, place = sys.modules[name], folder.joinpath(*name.split("."))
    # Not by getattr: some modules of torch answer to any name.
    facts = getattr(module, "__dict__", {})
    known = [facts.get("__file__"), *(facts.get("__path__") or ())]
    possible = (place, place / "__init__.py", place.with_name(f"{place.name}.py"))
    return any(isinstance(path, str) and Path(path) in possible for path in known)


def _find_home(package: str) -> Path:
    """Return the folder in which a package of ours lies."""
    return Path(next(iter(importlib.import_module(package).__path__)))


def _unload(name: str) -> None:
    module = sys.modules.pop(name)
    parent, _, child = name.rpartition(".")
    owner = sys.modules.get(parent)
    if owner is not None and getattr(owner, child, None) is module:
        delattr(owner, child)


def choose_code_roots(
    study: Study,
    status: Status,
    trials: Iterable[Trial],
    present: Path,
    renew: bool = False,
    folder: Path | None = None,
) -> Mapping[str, Path | None]:
    """Return, by trial id, the folder of the user's code; None for trials that use none.

    `folder` has the present code, `present` is where its copy will lie. A trial that goes on from
    a checkpoint keeps the code of its last attempt, unless `renew`; one that has failed takes the
    present code, which has been mended since.
    """
    read = functools.cache(functools.partial(read_pack, study.layout))

    def root(trial: Trial) -> Path | None:
        if not names_user_code(trial, folder or Path.cwd()):
            return None
        trial_status = status.planned[trial.id]
        if renew or not is_resumed(study, trial_status):
            return present
        job = trial_status.outcome.job
        pack = read(str(job["submission"]), int(job["pack"]))
        begun_with = pack.code_root
        if begun_with is None:
            return present
        if begun_with.is_relative_to(pack.layout.root):  # which may have been moved since
            begun_with = study.layout.root / begun_with.relative_to(pack.layout.root)
        return begun_with if begun_with.is_dir() else present

    return {trial.id: root(trial) for trial in trials}


def is_resumed(study: Study, trial_status: TrialStatus) -> bool:
    """Return True if a trial was stopped before its end and has a checkpoint to go on from."""
    stopped = trial_status.outcome.state in ("interrupted", "running")
    return stopped and study.layout.checkpoint(trial_status.outcome.trial.id).exists()
