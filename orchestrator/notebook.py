"""A recorded study as pandas frames, for notebooks. Writes nothing, starts nothing.

from orchestrator import Study

study = Study.load("studies/quickstart")
study.curves().groupby(["candidate", "step"])["val_accuracy"].mean()
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.contract.layout import Layout
from orchestrator.results.conclude import StudyResults
from orchestrator.study.study import read_recorded
from orchestrator.sweep.document import SweepError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NotebookStudy:
    """A study below some root, as its folder has it; every call reads the logs as they are now."""

    folder: Path

    @staticmethod
    def load(folder: "str | os.PathLike[str]") -> "NotebookStudy":
        """Open the folder of a study; raise SweepError if it is none."""
        path = Path(folder).absolute()
        if not (path / "sweep.yaml").is_file():
            hint = (
                "it has no sweep.yaml; a study's folder is ROOT/NAME, such as studies/quickstart"
            )
            below = sorted(file.parent.name for file in path.glob("*/sweep.yaml"))
            if below:
                hint = f"it is a root, with the studies {', '.join(below)}: name one"
            raise SweepError(f"{path} is not the folder of a study: {hint}")
        return NotebookStudy(path)

    def trials(self) -> "pd.DataFrame":
        """Return one row a planned trial, indexed by its id, whatever its state.

        `params.NAME` are hyperparameters, `metrics.NAME` final metrics in the scale that they
        were logged in; `final_test_accuracy_pct` and `auc_pct` are the numbers of the report, in
        percent. Raises LogError for a damaged log.
        """
        from tracking.export.rows import trial_rows

        return _frame(trial_rows(self._read_results().outcomes)).set_index("trial")

    def curves(self) -> "pd.DataFrame":
        """Return one row an evaluation: `step`, `epoch`, `train_seconds`, the metrics as logged.

        Empty, without columns, if nothing was evaluated yet. Raises LogError for a damaged
        log.
        """
        from tracking.export.rows import curve_rows

        return _frame(curve_rows(self._read_results().outcomes))

    def compare(self, table: str = "answers") -> "pd.DataFrame":
        """Return the comparison, as the verdict and the report have it: one row an answer.

        Other tables are `pairs`, the paired differences behind it, `failures`, `looks`,
        `speedups`, `steps_to_target`, `level_b`, `candidates`, `saved`,
        `answers_with_additions` and those of the appendix. Raises ComparisonError if there is
        nothing to compare yet, ValueError for a table that does not exist.
        """
        tables = self._read_results().numbers()
        if table not in tables:
            raise ValueError(f"no table {table!r}: there are {', '.join(tables)}")
        return _frame(tables[table])

    def _read_results(self) -> StudyResults:
        layout = Layout(self.folder.parent, self.folder.name)
        return StudyResults.read(read_recorded(layout))


def _frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows as a frame, with one type a column: whole numbers stay whole beside gaps."""
    import pandas as pd

    from tracking.report.numbers import columns

    names = columns(rows)
    return pd.DataFrame({name: _make_column([row.get(name) for row in rows]) for name in names})


def _make_column(values: list[Any]) -> Any:
    import pandas as pd

    types = {type(value) for value in values if value is not None}
    if None in values and types == {int}:
        is_wide = max(value for value in values if value is not None) >= 2**63
        return pd.array(values, dtype="UInt64" if is_wide else "Int64")
    return values
