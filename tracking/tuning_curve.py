"""The drawings of tuning: how a candidate takes its learning rate, and what more trials bring."""

import math
from collections.abc import Mapping, Sequence

from tracking.chart import Curve, Words, chart
from tracking.figures import Line
from tracking.tuning import RATE, Searched, TuningFound


def drawings(found: TuningFound | None, styles: Mapping[str, Line]) -> list[str]:
    """Return two SVGs a workload; `styles` are those of the candidates."""
    by_workload: dict[str, list[Searched]] = {}
    for one in () if found is None else found.searched:
        by_workload.setdefault(one.workload, []).append(one)
    drawn = []
    for workload, rows in by_workload.items():
        metric = rows[0].metric.replace("_", " ") + (", %" if rows[0].in_points else "")
        drawn += [_sensitivity(workload, metric, rows, styles)] if _any_rate(rows) else []
        drawn += _expected(workload, metric, rows, styles)
    return drawn


def _any_rate(rows: Sequence[Searched]) -> bool:
    return any(_points(one) for one in rows)


def _points(one: Searched) -> list[tuple[float, float]]:
    """Return (log10 of the learning rate, score) in order; only where the rate is tuned.

    What ended early is left out: its score is of another budget.
    """
    if RATE not in dict(one.space):
        return []
    return sorted(
        (math.log10(setting.hyperparameters[RATE]), setting.score)
        for setting in one.settings
        if setting.score is not None
        and setting.rung is None
        and setting.hyperparameters.get(RATE, 0) > 0
    )


def _sensitivity(
    workload: str, metric: str, rows: Sequence[Searched], styles: Mapping[str, Line]
) -> str:
    curves = [Curve(one.candidate, _points(one), styles[one.candidate]) for one in rows]
    shown = [curve for curve in curves if curve.points]
    title = f"{workload}: learning rates"
    words = Words(f"{workload}/rates", title, "log10 of the learning rate", metric)
    of = min if rows[0].lower_is_better else max
    best = "; ".join(
        f"{curve.name} best at {10 ** of(curve.points, key=lambda p: p[1])[0]:.2g}"
        for curve in shown
    )
    return chart(words, shown, f"Validation by learning rate on {workload}: {best}")


def _expected(
    workload: str, metric: str, rows: Sequence[Searched], styles: Mapping[str, Line]
) -> list[str]:
    curves = [
        Curve(one.candidate, list(enumerate(one.expected, 1)), styles[one.candidate])
        for one in rows
        if one.expected
    ]
    if not curves:
        return []
    title = f"{workload}: expected best of k settings"
    words = Words(f"{workload}/expected", title, "settings tried", metric)
    said = "; ".join(f"{curve.name} {curve.points[-1][1]:.4g}" for curve in curves)
    return [chart(words, curves, f"Expected best of k settings on {workload}, of all: {said}")]
