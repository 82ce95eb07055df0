"""The performance profile of a study: from steps to target, workload by workload, to one score.

The arithmetic is in `performance_profile`. Scores depend on who else is compared: a picture, and
no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracking.performance_profile import jackknife_ranges, profile
from tracking.time_to_target import Arm


@dataclass(frozen=True)
class Profiled:
    """The profile of one candidate: its exact area, and the range where one seed is left out.

    `ratios` of its median steps to the fewest are by workload; infinite where it has missed the
    target.
    """

    candidate: str
    score: float
    low: float | None
    high: float | None
    ratios: tuple[tuple[str, float], ...]


def profiled(arms: Sequence[Arm], names: Sequence[str]) -> tuple[tuple[Profiled, ...], str]:
    """Profile the candidates of these `names` by their median steps, on seeds that all have.

    Where there is none, the second part says why.
    """
    cells = {(arm.candidate, arm.workload): _steps(arm) for arm in arms}
    if not cells:
        return (), "no workload has a target"
    by_workload: dict[str, list[int]] = {}
    for workload in dict.fromkeys(name for _, name in cells):
        blocks = [set(cells.get((name, workload), {})) for name in names]
        if shared := sorted(set.intersection(*blocks)):
            by_workload[workload] = shared
    if not by_workload:
        return (), "no seed has a time to target of every candidate"
    times = np.array(
        [
            [
                np.median([cells[name, workload][block] for block in shared])
                for workload, shared in by_workload.items()
            ]
            for name in names
        ]
    )
    if not np.isfinite(times).any():
        return (), "no candidate reached any target in half of its trials"
    found = profile(times)
    ranges = _without_a_seed(names, by_workload, cells)
    solved = [name for name, is_solved in zip(by_workload, found.solved, strict=True) if is_solved]
    return tuple(
        Profiled(name, score, *between, tuple(zip(solved, map(float, ratios), strict=True)))
        for name, score, between, ratios in zip(
            names, found.scores, ranges, found.ratios, strict=True
        )
    ), ""


def _steps(arm: Arm) -> dict[int, float]:
    return {block: float("inf") if step is None else float(step) for block, step in arm.times}


def _without_a_seed(
    names: Sequence[str],
    by_workload: Mapping[str, Sequence[int]],
    cells: Mapping[tuple[str, str], Mapping[int, float]],
) -> Sequence[tuple[float | None, float | None]]:
    everywhere = sorted(set.intersection(*map(set, by_workload.values())))
    times = [[[cells[n, w][block] for w in by_workload] for n in names] for block in everywhere]
    try:
        return jackknife_ranges(times)
    except ValueError:  # one seed alone, or without one of them nothing is solved
        return [(None, None)] * len(names)
