"""Learning-rate schedules: the factor of a learning rate, by the fraction of the budget.

Planning checks schedules; the training loop calls `factor` at every step. A schedule is a mapping
with one key, its kind; positions are fractions of the declared budget, so that one schedule fits
budgets of every length.
"""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from jobs.contract.workloads.catalog import DataError, check_known

# By kind: every field with its default. Warm-up is off unless asked for.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "constant": {"warmup": 0.0},
    "cosine": {"warmup": 0.0, "floor": 0.0},
    "linear": {"warmup": 0.0, "floor": 0.0},
    "step": {"warmup": 0.0, "at": (0.5, 0.75), "factor": 0.1},
}
_EXAMPLE = "schedule: {cosine: {warmup: 0.05, floor: 0.0}}"


def factor(schedule: Mapping[str, Any], done: float) -> float:
    """Return the factor of a step that begins when the fraction `done` of the budget is behind.

    `schedule` is what `resolve_schedule` returns. During warm-up the factor grows linearly
    from 0; after it, with p the fraction of the rest of the budget that is behind:
    cosine: floor + (1 - floor) (1 + cos(pi p)) / 2 (arXiv 1608.03983, equation 5, one period);
    linear: 1 - (1 - floor) p; step: `factor` to the power of the positions `at` that are passed
    (these count from the start of training); constant: 1. No schedule: 1.
    """
    if not schedule:
        return 1.0
    ((kind, fields),) = schedule.items()
    warmup = fields["warmup"]
    if done < warmup:
        return float(done / warmup)
    rest = (done - warmup) / (1 - warmup)
    if kind == "cosine":
        return float(fields["floor"] + (1 - fields["floor"]) * (1 + math.cos(math.pi * rest)) / 2)
    if kind == "linear":
        return float(1 - (1 - fields["floor"]) * rest)
    if kind == "step":
        return float(fields["factor"] ** sum(done >= position for position in fields["at"]))
    return 1.0


def resolve_schedule(value: Any, epochs: int) -> dict[str, Any]:
    """Return a schedule of a sweep with its defaults filled in, JSON-ready.

    `value` is a kind, or a mapping from it to its fields; a warm-up may be a text such as `5ep`,
    epochs of the declared `epochs`. A constant without warm-up is no schedule: {}.
    Raises DataError for anything else.
    """
    if isinstance(value, Mapping) and not value:
        return {}
    kind: Any = value
    given: Any = {}
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, given),) = value.items()
    if not isinstance(kind, str) or not isinstance(given, Mapping):
        raise DataError(
            f"schedule is {value!r}: write a kind, or a kind with its fields, such as {_EXAMPLE}"
        )
    check_known(kind, KINDS, "schedule")
    for name in given:
        check_known(str(name), KINDS[kind], f"field of schedule {kind}")
    fields = dict(KINDS[kind]) | dict(given)
    checked = {name: _resolve_field(kind, name, field, epochs) for name, field in fields.items()}
    return {} if checked == {"warmup": 0.0} else {kind: checked}


def _resolve_field(kind: str, name: str, value: Any, epochs: int) -> Any:
    """Return a field in its type; raises DataError for a value that it cannot have."""
    if name == "at":
        positions = list(value) if isinstance(value, (list, tuple)) else [value]
        rising = all(map(_is_number, positions)) and positions == sorted(set(positions))
        if positions and rising and 0 < positions[0] <= positions[-1] < 1:
            return [float(position) for position in positions]
        right = "rising fractions of the budget between 0 and 1, such as [0.5, 0.75]"
    elif name == "warmup":
        fraction = value
        if isinstance(value, str) and value.endswith("ep"):
            with contextlib.suppress(ValueError):
                fraction = float(value.removesuffix("ep")) / epochs
        if _is_number(fraction) and 0 <= fraction < 1:
            return float(fraction) + 0.0  # -0.0 becomes 0.0
        right = (
            "a fraction of the budget, from 0 to below 1 (0.05), or fewer epochs than the "
            f"{epochs} declared, such as '5ep'"
        )
    else:
        if _is_number(value) and 0 <= value <= 1:
            return float(value) + 0.0
        right = f"a number from 0 to 1, such as {KINDS[kind][name]}"
    raise DataError(f"{name} of schedule {kind} is {value!r}, it must be {right}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
