"""The seeds of a sweep file: a number, a list of block indices, or looks at growing numbers."""

import itertools
from dataclasses import dataclass
from typing import Any

_MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Seeds:
    """`blocks` are seed indices; `looks` are rising numbers of them, empty without any."""

    blocks: tuple[int, ...]
    looks: tuple[int, ...] = ()


def read_seeds(seeds: Any) -> Seeds:
    """Check what the key `seeds` holds; raises ValueError."""
    if isinstance(seeds, dict):
        return _looks(seeds)
    listed = seeds if isinstance(seeds, list) else [seeds]
    if not all(_is_number(seed) for seed in listed):
        raise ValueError(
            f"{seeds!r} is neither a number of seeds nor a list of block indices nor looks, such "
            "as {looks: [3, 5, 7, 10]}"
        )
    if not isinstance(seeds, list):
        if seeds < 1:
            raise ValueError(f"{seeds} seeds: at least one is needed")
        if seeds > _MOST_SEEDS:
            raise ValueError(f"{seeds} seeds: {_MOST_SEEDS} is the most")
        return Seeds(tuple(range(seeds)))
    if not seeds:
        raise ValueError("the list is empty: name at least one block index, such as [0]")
    if min(seeds) < 0:
        raise ValueError(f"block index {min(seeds)} is negative: they count from 0")
    repeated = [seed for seed in seeds if seeds.count(seed) > 1]
    if repeated:
        raise ValueError(f"block {repeated[0]} is repeated: a block runs once, name it once")
    return Seeds(tuple(seeds))


def _looks(seeds: dict[Any, Any]) -> Seeds:
    looks = seeds.get("looks")
    if list(seeds) != ["looks"] or not isinstance(looks, list) or not looks:
        raise ValueError(f"{seeds!r} has no looks: write {{looks: [3, 5, 7, 10]}}")
    if not all(_is_number(look) for look in looks):
        raise ValueError(f"looks are numbers of seeds, such as [3, 5, 7, 10], not {looks!r}")
    if any(one >= other for one, other in itertools.pairwise(looks)):
        raise ValueError(f"looks are rising numbers of seeds, such as [3, 5, 7, 10], not {looks}")
    if looks[0] < 2:
        raise ValueError(f"a look at {looks[0]} seeds can decide nothing: two are the fewest")
    if looks[-1] > _MOST_SEEDS:
        raise ValueError(f"{looks[-1]} seeds: {_MOST_SEEDS} is the most")
    return Seeds(tuple(range(looks[-1])), tuple(looks))


def _is_number(seed: Any) -> bool:
    return isinstance(seed, int) and not isinstance(seed, bool)
