"""A question of a study. Answers nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """Is `candidate` better than `baseline`? Both are names of candidates."""

    candidate: str
    baseline: str
