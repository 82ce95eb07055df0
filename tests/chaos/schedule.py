"""What is done to a study, and in which order: drawn from a seed, before anything is done.

The moments in seconds are the machine's: a fault waits for points of curves, not for a clock.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Thing = TypeVar("Thing")

_POINTS = 4  # that a fault waits for at most
_SECONDS = (0.5, 4.0)  # for which what is broken stays so
_UNSENT = 2  # faults at the beginning, which hit the first submission


@dataclass(frozen=True)
class Planned:
    """One fault: after `points` more points, at the `target`-th part of what it may hit.

    `seconds` is how long it lasts, if it does. `target` lies in [0, 1).
    """

    kind: str
    points: int
    target: float
    seconds: float

    def choose(self, things: Sequence[Thing]) -> Thing:
        return things[int(self.target * len(things))]


def draw(seed: int, count: int, kinds: Sequence[str], first: str) -> list[Planned]:
    """Return `count` faults, every kind equally often but for the rest; `first` begins."""
    rng = random.Random(seed)
    drawn = [kinds[number % len(kinds)] for number in range(count)]
    rng.shuffle(drawn)
    drawn.sort(key=lambda kind: kind != first)
    others = drawn[_UNSENT:]
    rng.shuffle(others)
    return [
        Planned(
            kind,
            points=rng.randint(0, _POINTS) if number >= _UNSENT else 0,
            target=rng.random(),
            seconds=rng.uniform(*_SECONDS),
        )
        for number, kind in enumerate(drawn[:_UNSENT] + others)
    ]
