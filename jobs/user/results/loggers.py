"""What the loggers of frameworks leave: Lightning's, and the Trainer of Hugging Face.

Each writes by itself into the folder that its script runs in, or into the private store.
"""

import ast
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.contract.workloads.result_sources import Logger, RowFiles
from jobs.user.results.event_files import EventSource
from jobs.user.results.merger import ReadPoint, ResultsError
from jobs.user.results.private_store import StoreSource
from jobs.user.results.row_files import RowSource
from jobs.user.results.source import Place, Source

_TABLE = "metrics.csv"  # of Lightning's CSVLogger
_STATE = "trainer_state.json"
# What Hugging Face's callback for TensorBoard makes of names (`rewrite_logs` in its integrations).
_PARTS = {"eval/": "eval_", "test/": "test_", "train/": ""}


class LightningSource(Source):
    """Reads all of CSVLogger, TensorBoardLogger and MLFlowLogger that there is."""

    def __init__(self, base: Path, place: Place) -> None:
        self._base, self._place = base, place
        table = RowFiles(f"**/{_TABLE}", "step")
        self._sources: dict[str, Source] = {
            "CSVLogger": RowSource(table, f"{place.show(base)}/{table.path}", place),
            "TensorBoardLogger": EventSource(base, place),
            "MLFlowLogger": StoreSource(base, place),
        }

    def files(self) -> list[Path]:
        return [path for source in self._sources.values() for path in source.files()]

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        for name, source in self._sources.items():
            for point in source.poll(is_over):
                yield replace(point, series=(name, point.series))

    def explain(self, metric: str) -> str:
        used = [source for source in self._sources.values() if source.files()]
        if not used:
            return (
                f"no logger of Lightning ({', '.join(self._sources)}) has written anything below "
                f"{self._place.show(self._base)}: is it switched off (logger=False)?"
            )
        return "; ".join(source.explain(metric) for source in used)


class TrainerSource(Source):
    """Reads what a Trainer of Hugging Face has logged, at its end.

    That is `trainer_state.json` of the last step, what its callbacks for MLflow and TensorBoard
    have, and for metrics that are in none of these what it prints, and `*_results.json`. A printed
    value that is not finite is read at once. What it prints has no step: its epoch, if all are
    whole numbers, or else the number of the evaluation counts.
    """

    reads_output = True

    def __init__(self, base: Path, place: Place) -> None:
        self._base, self._place = base, place
        self._callbacks = (StoreSource(base, place), EventSource(base, place))
        self._printed: list[tuple[dict[str, float], str, float | None]] = []
        self._names: dict[str, None] = {}

    def files(self) -> list[Path]:
        callbacks = (path for source in self._callbacks for path in source.files())
        return [*self._states(), *self._results(), *callbacks]

    def take_line(self, number: int, line: str, seconds: float | None) -> Iterator[ReadPoint]:
        begin, end = line.find("{'"), line.rfind("}")
        if begin < 0 or end < begin:
            return
        try:
            record = ast.literal_eval(line[begin : end + 1].replace(": nan", ": 'nan'"))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return
        values = _numbers(record) if isinstance(record, dict) else {}
        if "epoch" not in values:
            return
        origin = f"line {number} of the output"
        self._printed.append((values, origin, seconds))
        bad = {
            name: value
            for name, value in values.items()
            if name in self._place.needed and not math.isfinite(value)
        }
        if bad:
            yield ReadPoint(len(self._printed), bad, origin, seconds)

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        if not is_over:
            return
        known: set[tuple[str, int | None]] = set()
        for point in self._logged():
            new = {k: v for k, v in point.metrics.items() if (k, point.step) not in known}
            known |= {(name, point.step) for name in new}
            yield replace(point, metrics=new, series=("logged", *sorted(new)))
        logged = {name for name, _ in known}
        printed = list(self._printed_points(logged))
        yield from printed
        logged |= {name for point in printed for name in point.metrics}
        for path in self._results():
            record = _load(path, self._place.show(path))
            values = {k: v for k, v in _numbers(record).items() if k not in logged}
            logged |= values.keys()
            yield ReadPoint(None, values, self._place.show(path))
        self._names = dict.fromkeys(sorted(logged))

    def explain(self, metric: str) -> str:
        if not self._names:
            return (
                f"the Trainer has left no {_STATE} below {self._place.show(self._base)}, and has "
                "printed no metrics: does it log (logging_strategy, eval_strategy)?"
            )
        return f"the Trainer has logged no {metric!r}, it has logged {', '.join(self._names)}"

    def _states(self) -> list[Path]:
        return sorted(self._base.rglob(_STATE))

    def _results(self) -> list[Path]:
        return sorted(self._base.rglob("*_results.json"))

    def _logged(self) -> Iterator[ReadPoint]:
        states = [(_load(path, self._place.show(path)), path) for path in self._states()]
        if states:
            state, path = max(states, key=lambda one: (one[0].get("global_step", 0), one[1]))
            for number, record in enumerate(state.get("log_history", []), start=1):
                values = _numbers(record)
                step = int(values.pop("step", number))
                yield ReadPoint(step, values, f"{self._place.show(path)}, row {number}")
        for source in self._callbacks:
            for point in source.poll(is_over=True):
                yield replace(
                    point, metrics={_unsplit(name): value for name, value in point.metrics.items()}
                )

    def _printed_points(self, logged: set[str]) -> Iterator[ReadPoint]:
        fractions = {
            name
            for values, _, _ in self._printed
            for name in values
            if not values["epoch"].is_integer()
        }
        counts: dict[str, int] = {}
        for values, origin, seconds in self._printed:
            by_step: dict[int, dict[str, float]] = {}
            for name in (name for name in values if name not in logged):
                counts[name] = counts.get(name, 0) + 1
                step = counts[name] if name in fractions else int(values["epoch"])
                by_step.setdefault(step, {})[name] = values[name]
            for step, metrics in by_step.items():
                ordered = {name: metrics[name] for name in values if name in metrics}
                yield ReadPoint(step, ordered, origin, seconds, "printed")


def _unsplit(name: str) -> str:
    for part, prefix in _PARTS.items():
        if name.startswith(part):
            return prefix + name.removeprefix(part)
    return name


def _numbers(record: Mapping[Any, Any]) -> dict[str, float]:
    """Return the numbers in a record, those in texts too."""
    numbers = {}
    for name, value in record.items():
        if not isinstance(value, bool) and isinstance(value, (int, float, str)):
            try:
                numbers[str(name)] = float(value)
            except ValueError:
                continue
    return numbers


def _load(path: Path, shown: str) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ResultsError(f"{shown} is no JSON: {error}") from error
    return record if isinstance(record, dict) else {}


LOGGER_SOURCES: Mapping[Logger, Callable[[Path, Place], Source]] = {
    "tensorboard": EventSource,
    "mlflow": StoreSource,
    "lightning": LightningSource,
    "huggingface": TrainerSource,
}
