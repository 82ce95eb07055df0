"""A study as files for other tools: Parquet, CSV, TensorBoard. Equal outcomes give equal bytes.

Compares nothing: the numbers of a comparison are beside the report.
"""

import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from jobs.contract.atomic_write import open_atomically, write_atomically
from thermolion.errors import OperationError
from tracking.export.rows import curve_rows, trial_rows
from tracking.export.tensorboard import event_file
from tracking.mlflow_store.record import part, parts
from tracking.outcomes import Outcome
from tracking.report.numbers import csv_text, write_parquet

FORMS = ("parquet", "csv", "tensorboard")

# TensorBoard looks for `tfevents` in a name. The name is always the same, so that a trial that ran
# again replaces its earlier file.
_EVENT_FILE = "events.out.tfevents.thermolion"


class ExportError(OperationError):
    """Nothing was exported; the message says why and what to do."""


def export(outcomes: Sequence[Outcome], folder: Path, form: str) -> list[Path]:
    """Write the trials below `folder`, made if it is absent; return what was written.

    `form` is one of FORMS. Parquet and CSV are two tables, `trials` and `curves`; TensorBoard is
    a folder for every trial that has started. Raises ExportError, and OSError.
    """
    if form not in FORMS:
        raise ExportError(f"{form!r} is no format: there are {', '.join(FORMS)}")
    folder.mkdir(parents=True, exist_ok=True)
    if form == "tensorboard":
        return _tensorboard(outcomes, folder)
    return _tables(outcomes, folder, form)


def _tables(outcomes: Sequence[Outcome], folder: Path, form: str) -> list[Path]:
    if form == "parquet":
        _require("pyarrow", "Parquet", extra="tracking")
    written = []
    for name, rows in (("trials", trial_rows(outcomes)), ("curves", curve_rows(outcomes))):
        path = folder / f"{name}.{form}"
        if not rows:
            path.unlink(missing_ok=True)  # that of an earlier export is no part of this one
            continue
        if form == "parquet":
            write_parquet(path, rows)
        else:
            write_atomically(path, csv_text(rows))
        written.append(path)
    return written


def _tensorboard(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    _require("tensorboard", "event files", extra="tensorboard")
    workloads = parts(sorted({one.trial.workload.name for one in outcomes}))
    candidates = parts(sorted({one.trial.candidate.name for one in outcomes}))
    written = []
    for one in outcomes:
        trial = one.trial
        if one.started_ms is None:
            continue
        parent = folder / workloads[trial.workload.name] / candidates[trial.candidate.name]
        block = f"block {trial.block}"
        run = parent / (block if trial.phase == "compare" else part(f"{trial.phase} {block}"))
        run.mkdir(parents=True, exist_ok=True)
        # TensorBoard, if it watches, would take a draft of the usual name for a later file.
        with open_atomically(run / _EVENT_FILE, draft=run / f".{uuid.uuid4().hex}") as file:
            file.write(event_file(one, one.started_ms))
        written.append(run)
    return written


def _require(package: str, what: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ExportError(
            f"{package}, which writes {what}, is not installed: pip install "
            f"'thermolion[{extra}]', or take --format csv"
        )
