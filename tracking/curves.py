"""The area under a learning curve. Knows steps and values, no trial."""

from collections.abc import Sequence

import numpy as np


def normalised_auc(steps: Sequence[int], values: Sequence[float]) -> float:
    """Return the mean height of a curve over its steps, by the trapezoid rule, in its own unit.

    `steps` (n,) start with 0, the untrained point, and never fall: a step that comes twice is a
    jump. Raises ValueError for anything else, for values that are not finite, and for a curve
    without length.
    """
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"a curve of two points at least is needed: {x.shape} and {y.shape}")
    if x[0] != 0 or x[-1] == 0 or (np.diff(x) < 0).any():
        raise ValueError(f"steps must rise from the untrained point, 0: {list(steps)}")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite: {list(values)}")
    return float(np.trapezoid(y, x) / x[-1])
