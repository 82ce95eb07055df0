"""Runs that stand in folders of TensorBoard's event files, a folder a run; writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
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
    """Return the runs below a folder that have logged the metrics.

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
    relative = [PurePath(run.relative_to(folder)) for run in found]
    if path is not None and found:
        path.require_one(relative)
    for run, shown in zip(found, relative, strict=True):
        twice = next((one.twice for one in found[run].values() if one.twice), None)
        if twice is not None:
            notes.append(f"{shown} has two runs, {twice[0]} and {twice[1]}: left out.")
            continue
        fields = dict(_settings(run, folder, folders))
        fields |= (path.read(shown) or {}) if path is not None else {}
        runs.append(_read(shown, found[run], fields, query))
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


def _settings(run: Path, top: Path, folders: Sequence[EventFolder]) -> Mapping[str, str]:
    """Return what loggers wrote of a run: above it, in it, and right below it, as hparams lie."""
    settings: dict[str, str] = {}
    for place in reversed((run, *run.parents)):
        if place.is_relative_to(top):
            settings |= read_hparams(place)
    for one in folders:
        if one.path.parent == run or run.is_relative_to(one.path):
            settings |= one.settings
    return settings


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
