"""What a script that a sweep runs as a command calls to log, to stop and to find its folder.

Standard library only, and nothing of our other packages: a user's project may have folders of
those names. It is read by the Python of the script, which may be as old as 3.7. It cannot save and
resume: `train(trial, context)` can.
"""

from __future__ import annotations

import json
import math
import operator
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import SupportsIndex


def log(step: SupportsIndex, **metrics: Any) -> None:
    """Log metrics at a step: to the sweep that runs this script, else one line to stdout.

    A metric is a number, or what `float` converts to one (a tensor or array of one element). If
    a script has started several ranks (`RANK`), rank 0 alone logs.

    Raises TypeError for a metric that is no number and a step that is no whole number, ValueError
    for a negative step and a call without metrics.
    """
    number = operator.index(step)
    if number < 0:
        raise ValueError(f"step is {number}, it must be 0 or more")
    _append({"step": number, **_numbers(metrics)}, f"step {number}: ")


def log_final(**metrics: Any) -> None:
    """Log the scores of the trained model; without it, the last value of each metric counts.

    Raises as `log` does.
    """
    _append({"final": _numbers(metrics)}, "final: ")


def should_stop() -> bool:
    """Return True if the sweep wants this script to save its state and end; else False.

    From the first call on, the signal that says so (SIGTERM) does not end the script at once.
    """
    stop = os.environ.get("THERMOLION_STOP")
    if stop is None:
        return False
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        # A handler of Python's, unlike SIG_IGN, is not inherited by what the script starts.
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    return Path(stop).exists()


def state_dir() -> Path | None:
    """Return a folder that is kept between attempts at this trial; None outside of a sweep."""
    state = os.environ.get("THERMOLION_STATE")
    return None if state is None else Path(state)


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    if not metrics:
        raise ValueError("nothing to log: write thermolion.log(step, val_accuracy=0.9)")
    return {name: _number(name, value) for name, value in metrics.items()}


def _number(name: str, value: Any) -> float:
    if not isinstance(value, (str, bytes)):  # float would read a number in a text
        try:
            # `float` warns for a tensor that takes part in gradients.
            return float(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise TypeError(
        f"metric {name!r} is {value!r} ({type(value).__name__}), it must be one number: a float, "
        "an int, or a tensor or array of one element"
    )


def _append(record: dict[str, Any], words: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    path = os.environ.get("THERMOLION_LOG")
    if path is None:
        metrics = record.get("final", record)
        numbers = [f"{name} {value:.6g}" for name, value in metrics.items() if name != "step"]
        sys.stdout.write(f"{words}{', '.join(numbers)}\n")
        sys.stdout.flush()
        return
    line = json.dumps(_encode_floats(record), allow_nan=False) + "\n"
    # One write to a file that is opened for appending: lines of two processes never mix.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _encode_floats(value: Any) -> Any:
    """Return `value` with NaN and the infinities, which JSON lacks, as text."""
    if isinstance(value, dict):
        return {key: _encode_floats(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
