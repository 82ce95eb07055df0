"""How small a difference a number of seeds can show, as a table: scipy is too slow for `plan`."""

import math

# Smallest standardised paired difference (mean / sd of the differences) that a two-sided paired
# t test at 5 % finds with a power of 80 %, by number of seeds. A test recomputes it with scipy.
_DETECTABLE = {
    2: 11.55,
    3: 3.264,
    4: 2.128,
    5: 1.682,
    6: 1.435,
    7: 1.273,
    8: 1.156,
    9: 1.067,
    10: 0.996,
    11: 0.938,
    12: 0.889,
    13: 0.847,
    14: 0.81,
    15: 0.778,
    16: 0.749,
    17: 0.724,
    18: 0.701,
    19: 0.68,
    20: 0.66,
    21: 0.643,
    22: 0.626,
    23: 0.611,
    24: 0.597,
    25: 0.584,
    26: 0.572,
    27: 0.56,
    28: 0.549,
    29: 0.539,
    30: 0.529,
}
_LARGE_SAMPLES = 2.8016  # z(0.975) + z(0.8)


def detectable(seeds: int) -> float | None:
    """Return it for a number of seeds, in sd of the paired differences; None below two seeds."""
    if seeds < 2:
        return None
    return _DETECTABLE.get(seeds) or _LARGE_SAMPLES / math.sqrt(seeds)
