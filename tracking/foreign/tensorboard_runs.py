"""Runs that stand in folders of TensorBoard's event files, a folder a run; writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePath

from tracking.foreign.event_folders import EventFolder, read_folders
from tracking.foreign.hparams import read_hparams
from tracking.foreign.run import (
    CurveValue,
    ForeignRun,
    ForeignRuns,
    RunQuery,
    RunSourceError,
    first_values,
    list_names,
    require_metrics,
)
from tracking.foreign.run_filter import filter_runs
from tracking.foreign.run_paths import PathPattern

_ENDED = "Event files do not say how a run has ended: all are taken for completed."


def read_tensorboard(folder: Path, path: PathPattern | None, query: RunQuery) -> ForeignRuns:
    """Return the runs below a folder: those that have logged the metrics, and those beside them.

    A metric is a tag, or the tag of a folder in that of the run: `validation/epoch_accuracy`. The
    fields of a run are what `path` reads from its path and, as `params.NAME`, the settings of
    TensorBoard's hparams and of Lightning's `hparams.yaml`. Raises RunSourceError for a metric and
    a field that no run has.
    """
    label = f"the event files below {folder}"
    tags = {tail for metric in query.metrics for _, tail in _splits(metric)}
    folders = read_folders(folder, tags)
    found: dict[Path, dict[str, EventFolder]] = {}
    for one in folders:
        for metric in query.metrics:
            if (run := _run_of(one, metric)) is not None:
                found.setdefault(run, {})[metric] = one
    logged = sorted({tag for one in folders for tag in one.tags})
    runs, notes = [], [_ENDED]
    if path is not None and found:
        path.require_one([PurePath(run.relative_to(folder)) for run in found])
    read_fields = _FieldReader(folder, folders, path).read
    for run, of_it in found.items():
        shown = PurePath(run.relative_to(folder))
        twice = next((one.twice for one in of_it.values() if one.twice), None)
        if twice is not None:
            notes.append(f"{shown} has two runs, {twice[0]} and {twice[1]}: left out.")
            continue
        runs.append(_read(shown, of_it, read_fields(run), query))
    for place in _beside(folder, folders, found.keys()):
        fields = read_fields(place)
        if all(name in fields for name in query.fields):  # it ended before it logged the metric
            runs.append(_read(PurePath(place.relative_to(folder)), {}, fields, query))
    require_metrics(label, query.metrics, runs, logged)
    runs = filter_runs(runs, query.only, label)
    _require_fields(runs, label, query, path)
    return ForeignRuns(label, tuple(runs), tuple(notes))


def _read(
    shown: PurePath, found: Mapping[str, EventFolder], fields: Mapping[str, str], query: RunQuery
) -> ForeignRun:
    curves = {metric: first_values(_values(found, metric)) for metric in query.metrics}
    times = [(one.began_ms, one.ended_ms) for one in found.values()]
    return ForeignRun(
        id=str(shown),
        name=str(shown),
        state="completed",
        fields=fields,
        curve=curves[query.curve_metric],
        latest={metric: curve[-1].value for metric, curve in curves.items() if curve},
        started_ms=min((began for began, _ in times if began is not None), default=None),
        ended_ms=max((ended for _, ended in times if ended is not None), default=None),
    )


def _values(found: Mapping[str, EventFolder], metric: str) -> Sequence[CurveValue]:
    if metric not in found:
        return ()
    values = found[metric].values
    return next(values[tail] for _, tail in _splits(metric) if tail in values)


def _splits(metric: str) -> Iterator[tuple[str, str]]:
    """Yield folder and tag that a metric may stand for, its own name first."""
    parts = metric.split("/")
    for at in range(len(parts)):
        yield "/".join(parts[:at]), "/".join(parts[at:])


def _run_of(folder: EventFolder, metric: str) -> Path | None:
    """Return the folder of the run whose metric this folder has; None if it has not."""
    for inner, tag in _splits(metric):
        inside = not inner or f"/{folder.path.as_posix()}".endswith(f"/{inner}")
        if tag in folder.values and inside:
            return folder.path.parents[inner.count("/")] if inner else folder.path
    return None


def _beside(top: Path, folders: Sequence[EventFolder], found: AbstractSet[Path]) -> list[Path]:
    """Return folders of events that lie as deep as runs do, and neither in nor above one."""
    depths = {len(run.relative_to(top).parts) for run in found}
    above = {place for run in found for place in run.parents}
    beside: dict[Path, None] = {}
    for one in folders:
        places = [one.path, *one.path.parents]
        if found.isdisjoint(places):
            beside |= dict.fromkeys(
                place
                for place in places
                if place not in above
                and place.is_relative_to(top)
                and len(place.relative_to(top).parts) in depths
            )
    return list(beside)


class _FieldReader:
    """What the path of a run says of it, and what loggers wrote."""

    def __init__(
        self, top: Path, folders: Sequence[EventFolder], path: PathPattern | None
    ) -> None:
        self._top, self._path = top, path
        self._settings = {one.path: one.settings for one in folders}
        self._below: dict[Path, list[Path]] = {}
        for one in folders:
            self._below.setdefault(one.path.parent, []).append(one.path)

    def read(self, run: Path) -> Mapping[str, str]:
        """Return its fields: of files above it, in it, and right below it, as hparams lie."""
        above = [place for place in (run, *run.parents) if place.is_relative_to(self._top)]
        fields: dict[str, str] = {}
        for place in reversed(above):
            fields |= read_hparams(place)
        for place in (*reversed(above), *self._below.get(run, ())):
            fields |= self._settings.get(place, {})
        if self._path is not None:
            fields |= self._path.read(PurePath(run.relative_to(self._top))) or {}
        return fields


def _require_fields(
    runs: Sequence[ForeignRun], label: str, query: RunQuery, path: PathPattern | None
) -> None:
    for name in query.fields:
        if not any(name in run.fields for run in runs):
            known = sorted({one for run in runs for one in run.fields})
            has = f"they have {list_names(known)}" if known else "no settings were logged"
            way = "" if path is not None else "; what their paths say is read with --path "
            example = "" if path is not None else "'{optimizer}/seed{seed}'"
            raise RunSourceError(
                f"no run of {label} has {name!r}: {has}{way}{example}. They are "
                f"{list_names([run.name for run in runs][:5])}"
            )
