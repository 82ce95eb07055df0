"""A question of a study, and the endpoints that it is asked by. Answers nothing."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Question:
    """Is `candidate` better than `baseline`? Both are names of candidates."""

    candidate: str
    baseline: str


class Endpoint(StrEnum):
    """A number of a trial that comparisons are made of: the final score, or the speed.

    The values are the words of sweep files and records, where images came first; with the user's
    own training they stand for final score and area under the curve of whatever metric.
    """

    FINAL = "final_test_accuracy"
    AUC = "val_auc"
