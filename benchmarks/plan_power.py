"""The power that `thermolion plan` promises beside that of simulated studies, design by design."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from orchestrator.study.design_power import Design
from tracking.stats.group_sequential import limits

STUDIES = 4000


@dataclass(frozen=True)
class Case:
    """A design with its name; units are means over `blocks` blocks each, of one search if tuned.

    `share` is that of the search in the variance of a single block's difference.
    """

    name: str
    looks: tuple[int, ...]
    workloads: int
    tests: int
    blocks: int = 1
    share: float = 0.0


CASES = (
    Case("1 workload x 5 seeds", (5,), 1, 1),
    Case("4 x 3", (3,), 4, 1),
    Case("12 x 3", (3,), 12, 1),
    Case("12 x 5, 8 tests", (5,), 12, 8),
    Case("1 x looks 3, 5, 7, 10", (3, 5, 7, 10), 1, 1),
    Case("4 x looks 3, 5, 7, 10", (3, 5, 7, 10), 4, 1),
    Case("12 x looks 3, 5, 7, 10, 8 tests", (3, 5, 7, 10), 12, 8),
    Case("tuned, 1 x 5 searches of 1", (5,), 1, 2, 1, 0.5),
    Case("tuned, 1 x 5 searches of 3", (5,), 1, 2, 3, 0.5),
    Case("tuned, 4 x 3 searches of 4", (3,), 4, 2, 4, 0.3),
    Case("tuned, 4 x looks 3, 5, 7, 10", (3, 5, 7, 10), 4, 2, 1, 0.5),
)


def simulate(case: Case, effect: float) -> float:
    """Return the share of simulated studies that decide; effects in sd of a block's difference."""
    random, alpha = np.random.default_rng(0), 0.05 / case.tests
    shape = (STUDIES, case.workloads, case.looks[-1])
    d = effect + case.share**0.5 * random.normal(size=shape)
    d += (1 - case.share) ** 0.5 * random.normal(size=(*shape, case.blocks)).mean(axis=-1)
    found = np.zeros(STUDIES, bool)
    at = limits(case.looks, alpha) if len(case.looks) > 1 else (alpha,)
    for n, limit in zip(case.looks, at, strict=True):
        if n < 3 or n * case.workloads < 5:
            continue  # too few for a word
        variances = d[:, :, :n].var(axis=2, ddof=1) / n
        total = variances.sum(axis=1)
        df = total**2 / (variances**2 / (n - 1)).sum(axis=1)
        statistic = d[:, :, :n].mean(axis=2).sum(axis=1) / np.sqrt(total)
        found |= 2 * t.sf(np.abs(statistic), df) <= limit
    return float(found.mean())


def main() -> None:
    print(
        f"{'design':<32} {'effect':>7} {'planned':>8} {'of ' + str(STUDIES):>8}  (sd of a block)"
    )
    worst = 0.0
    for case in CASES:
        design = Design(case.looks, case.workloads, 0.05 / case.tests)
        unit = (case.share + (1 - case.share) / case.blocks) ** 0.5
        least = (design.detectable() or 0.0) * unit
        for effect in (0.6 * least, least, 1.3 * least):
            planned, found = design.power(effect / unit), simulate(case, effect)
            worst = max(worst, abs(planned - found))
            print(f"{case.name:<32} {effect:7.2f} {planned:8.3f} {found:8.3f}")
    print(f"largest difference {worst:.3f} (the bar is 0.03)")


if __name__ == "__main__":
    main()
