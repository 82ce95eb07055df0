"""What TensorBoard's event files hold: scalars, and the settings of its hparams page.

They are read by TensorBoard's own reader, which knows the scalars of TensorFlow 2 as well.
"""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.foreign.run import CurveValue, RunSourceError

PATTERN = "*tfevents*"
_SETTINGS = "_hparams_/session_start_info"


@dataclass
class EventFolder:
    """The event files of one folder, together: the values of the tags that were asked for.

    `tags` are all that there are. `twice` names two files that begin at one step: of two runs.
    """

    path: Path
    values: dict[str, list[CurveValue]] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    began_ms: int | None = None
    ended_ms: int | None = None
    twice: tuple[str, str] | None = None


def read_folders(folder: Path, wanted: Collection[str]) -> list[EventFolder]:
    """Return the folders below one that have event files, by path; keeps the tags in `wanted`.

    Raises RunSourceError if there is none, or TensorBoard is not installed.
    """
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise RunSourceError(f"--tensorboard {folder}: {what}; name the folder that has the runs")
    try:
        import tensorboard.backend.event_processing.event_file_loader  # noqa: F401  # is it there?
    except ImportError as error:
        raise RunSourceError(
            f"{error}: to read event files, pip install 'thermolion[tensorboard]'"
        ) from error
    files: dict[Path, list[Path]] = {}
    for file in sorted(folder.rglob(PATTERN)):
        if file.is_file():
            files.setdefault(file.parent, []).append(file)
    if not files:
        raise RunSourceError(f"no event file of TensorBoard ({PATTERN}) lies below {folder}")
    return [_read_folder(path, found, wanted) for path, found in sorted(files.items())]


def _read_folder(path: Path, files: list[Path], wanted: Collection[str]) -> EventFolder:
    """Return one folder; its files are of one run, continued."""
    folder = EventFolder(path)
    begins: dict[str, tuple[int, Path]] = {}
    for file in files:
        first: dict[str, int] = {}
        for event in _events(file):
            for value in event.summary.value:
                _keep(folder, event, value, wanted, first)
        for tag, step in first.items():
            known, earlier = begins.setdefault(tag, (step, file))
            if earlier != file and step <= known:
                folder.twice = folder.twice or (earlier.name, file.name)
    return folder


def _events(file: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    # A file of a run that was killed ends in the middle of a record: what stands before counts.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    # It converts nothing: of a thousand values a few hundred are asked for.
    yield from LegacyEventFileLoader(str(file)).Load()


def _keep(
    folder: EventFolder, event: Any, value: Any, wanted: Collection[str], first: dict[str, int]
) -> None:
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
    from tensorboard.util.tensor_util import make_ndarray

    if value.tag == _SETTINGS:
        info = parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
        for name, setting in info.hparams.items():
            folder.settings[f"params.{name}"] = _spell(setting)
        return
    kind = value.WhichOneof("value")
    if kind != "simple_value" and (kind != "tensor" or not _is_number(value.tensor)):
        return  # an image, a histogram, a text
    folder.tags.add(value.tag)
    first.setdefault(value.tag, event.step)
    time_ms = round(event.wall_time * 1000)
    folder.began_ms = min(folder.began_ms or time_ms, time_ms)
    folder.ended_ms = max(folder.ended_ms or time_ms, time_ms)
    if value.tag in wanted:
        plain = kind == "simple_value"
        number = value.simple_value if plain else float(make_ndarray(value.tensor).item())
        point = CurveValue(event.step, number, time_ms)
        folder.values.setdefault(value.tag, []).append(point)


def _is_number(tensor: Any) -> bool:
    """Return True for a single number, as TensorFlow 2 writes it."""
    from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT

    return not tensor.tensor_shape.dim and tensor.dtype in (DT_FLOAT, DT_DOUBLE)


def _spell(setting: Any) -> str:
    """Return a setting as the user wrote it; whole numbers are stored as 32.0."""
    value = getattr(setting, setting.WhichOneof("kind"))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
