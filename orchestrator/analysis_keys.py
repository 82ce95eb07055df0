"""The keys of a sweep file that say how its questions are answered, and what pilots are for."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.validation import Strict

_Endpoint = Literal["final_test_accuracy", "val_auc"]


class AnalysisKeys(Strict):
    """What is frozen before the first trial of the comparison; see docs/comparing.md."""

    endpoints: Annotated[tuple[_Endpoint, ...], Field(min_length=1, strict=False)] = (
        "final_test_accuracy",
        "val_auc",
    )
    alpha: Annotated[float, Field(gt=0, le=0.5, strict=False)] = 0.05
    rope_pp: Annotated[float, Field(gt=0, le=100, strict=False)] = 0.2
    limits: Literal["obrien-fleming", "pocock"] = "obrien-fleming"


class PilotKeys(Strict):
    """Trials of the baselines on seeds of their own, from which targets are made.

    A target lies `quantile` of the way from chance to what the better baseline reaches typically.
    """

    seeds: Annotated[int, Field(ge=1, le=1000)] = 10
    quantile: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.95
