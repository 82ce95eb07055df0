"""Checks before anything starts: data present, the user's code importable, a device."""

import inspect
import math
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.contract.command_template import search_path
from jobs.contract.events import check_free_space
from jobs.contract.trial import Candidate, Trial
from jobs.contract.workloads import catalog
from jobs.contract.workloads.image_files import find_images
from jobs.contract.workloads.workload import ImageWorkload
from orchestrator.backends.base import backend_of
from orchestrator.results.suggest import require_optuna
from orchestrator.study.image_counts import LoggedImages, find_shortages
from orchestrator.study.study import Study
from orchestrator.submit.code_snapshot import (
    find_clashes,
    find_dotted_paths,
    make_importable,
    names_user_code,
)
from orchestrator.sweep.document import SweepError, choices
from thermolion import registry
from tracking.outcomes import Outcome

_MOST_LOOKED_AT = 5_000  # files of an image folder: seconds, on a network file system
_MOST_NAMED = 3


def check_before_start(
    study: Study,
    trials: Sequence[Trial],
    data_root: Path | None,
    download: bool,
    code: Path | None = None,
    outcomes: Sequence[Outcome] = (),
) -> None:
    """Raise SweepError or DataError for the first thing that would fail every trial.

    The user's code lies in the folder `code`, by default that in which thermolion runs. Some
    `outcomes` of the study may say how many images its data have.
    """
    if data_root is not None and not data_root.is_dir():
        raise SweepError(f"the data root {data_root} does not exist: point --data at a folder")
    check_free_space(study.layout.folder)
    backend_of(study.sweep.keys).check(study)
    if study.sweep.keys.tune is not None and study.sweep.keys.tune.search == "optuna":
        require_optuna()
    for workload in {trial.workload.key: trial.workload for trial in trials}.values():
        if isinstance(workload, ImageWorkload):
            _check_images(workload, data_root, download)
        elif workload.command is not None:
            _check_command(workload.name, workload.command)
    folder = code or Path.cwd()
    _check_user_code(trials, folder)
    _check_image_counts(study, trials, data_root, folder, LoggedImages(outcomes))
    image_folders = {
        trial.workload.dataset
        for trial in trials
        if isinstance(trial.workload, ImageWorkload)
        and trial.workload.dataset.startswith(catalog.IMAGE_FOLDER)
    }
    for name in sorted(image_folders):
        _check_image_files(name, data_root)


def _check_user_code(trials: Sequence[Trial], folder: Path) -> None:
    """Import what the user names, from `folder`, after all other places."""
    named = [trial for trial in trials if find_dotted_paths(trial)]
    hidden = find_clashes(folder) if any(names_user_code(trial, folder) for trial in named) else []
    if hidden:
        raise SweepError(
            f"{hidden[0]} has the name of a module of ours, which would be imported in its stead: "
            "rename it, or start the training by a `command:` line, which runs apart from us"
        )
    with make_importable(folder):
        built = [trial for trial in named if "optimizer" in find_dotted_paths(trial)]
        for trial in {trial.candidate.key: trial for trial in built}.values():
            _check_optimizer(trial.candidate)
        for trial in {trial.workload.key: trial for trial in named}.values():
            for what, path in find_dotted_paths(trial).items():
                if what != "optimizer":
                    _check_callable(path, what, f"workload {trial.workload.name!r}")


def _check_callable(path: str, what: str, whose: str) -> None:
    loaded = _import(path, catalog.resolve, whose)
    if not callable(loaded):
        raise SweepError(f"{whose}: {path} is a {type(loaded).__name__}, it cannot be called")
    if what != "train":
        return
    try:
        inspect.signature(loaded).bind("trial", "context")
    except TypeError as error:
        raise SweepError(
            f"{whose}: {path} cannot be called as train(trial, context) ({error}): give it these "
            "two parameters, and defaults to all others"
        ) from error
    except ValueError:
        return  # a callable without a signature (of C code): its call will tell


def _check_images(workload: ImageWorkload, data_root: Path | None, download: bool) -> None:
    if not (download and workload.dataset in catalog.DATASETS):
        catalog.check_present(workload.dataset, data_root)
    if workload.model.startswith(catalog.TORCHVISION):
        from jobs.images.models import check_torchvision

        check_torchvision(workload.model, workload.model_options)


def _check_image_files(name: str, data_root: Path | None) -> None:
    """Raise DataError if files of `imagefolder:PATH` are no images: by the first bytes of each.

    Of a large folder some are looked at, evenly spread: a trial names any other that it meets.
    """
    files = [
        file for part in catalog.find_image_folders(name, data_root) for file in find_images(part)
    ]
    looked_at = files[:: math.ceil(len(files) / _MOST_LOOKED_AT) or 1]
    wrong = [file for file in looked_at if not _is_image(file)]
    if wrong:
        shown = ", ".join(map(str, wrong[:_MOST_NAMED]))
        more = ", …" if len(wrong) > _MOST_NAMED else ""
        raise catalog.DataError(
            f"data set {name!r}: {len(wrong)} of {len(looked_at)} files that were looked at have "
            f"the name of an image and are none ({shown}{more})"
            ": replace them, or move them out of the folder"
        )


def _is_image(file: Path) -> bool:
    from PIL import Image  # not for studies that read no folder

    try:
        Image.open(file).close()
    except Exception:  # a damaged file raises whatever its parser happens to
        return False
    return True


def _check_image_counts(
    study: Study,
    trials: Sequence[Trial],
    data_root: Path | None,
    folder: Path,
    logged: LoggedImages,
) -> None:
    """Refuse `train_images` that the data do not have, before a trial fails for it on its node."""

    def count(workload: ImageWorkload) -> int | None:
        known = logged.available(workload, data_root)
        if known is not None or not catalog.is_dotted(workload.dataset):
            return known
        with make_importable(folder):
            return _count_user_images(workload, data_root)

    shortages = find_shortages(study.sweep.workloads, trials, count)
    if shortages:
        raise SweepError(shortages[0])


def _count_user_images(workload: ImageWorkload, data_root: Path | None) -> int | None:
    """Read the user's own data set, for nothing else knows how many images it has.

    None if it cannot be read: a node may have what this machine lacks.
    """
    from jobs.images.data import load
    from jobs.images.splits import split

    try:
        dataset = load(workload.dataset, workload.dataset_options, data_root)
    except (Exception, SystemExit):  # a user's reader may do anything
        return None
    return len(split(dataset, workload.split, None, seed=0).train)


def _check_command(name: str, command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SweepError(f"workload {name!r}: command {command!r}: {error}") from error
    if not words or shutil.which(words[0], path=search_path()) is None:
        raise SweepError(
            f"workload {name!r}: command {command!r}: there is no program "
            f"{(words or [''])[0]!r} on the PATH: write one that is, such as python, or its path"
        )


def _import(path: str, load: Callable[[str], Any], whose: str) -> Any:
    try:
        return load(path)
    except (Exception, SystemExit) as error:  # a user's module may do anything when imported
        raise SweepError(
            f"{whose}: cannot import {path!r}: {type(error).__name__}: {error}; write "
            "module:name, importable from the folder in which you run thermolion"
        ) from error


def _check_optimizer(candidate: Candidate) -> None:
    """Check a user's optimizer against its signature; ours are checked when the sweep is read."""
    whose = f"candidate {candidate.name!r}"
    kind = _import(candidate.optimizer, registry.load, whose)
    try:
        signature = inspect.signature(kind)
    except (TypeError, ValueError) as error:
        raise SweepError(f"{whose}: {candidate.optimizer} is not a class: {error}") from error
    accepted = signature.parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for key in candidate.hyperparameters:
        if key not in accepted and not open_ended:
            names = [name for name in accepted if name != "params"]
            raise SweepError(
                f"{whose}: {candidate.optimizer} has no hyperparameter {key!r}: "
                f"{choices(key, names)}"
            )
    try:
        signature.bind(None, **candidate.hyperparameters)
    except TypeError as error:
        raise SweepError(f"{whose}: {candidate.optimizer}: {error}") from error
