"""The keys of a sweep file that say how candidates are tuned before they are compared.

What they mean for a candidate is `orchestrator.space`'s.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.sweep_file import choices
from orchestrator.validation import MOST_RANKS, Strict

_SEARCHES = ("sobol", "optuna")


def _search(value: Any) -> Any:
    if value == "asha":
        raise ValueError("the search 'asha' is not available yet: write sobol or optuna")
    if value not in _SEARCHES:
        raise ValueError(f"unknown search {value!r}: {choices(value, _SEARCHES)}")
    return value


_Ends = tuple[
    Annotated[float, Field(allow_inf_nan=False, strict=False)],
    Annotated[float, Field(allow_inf_nan=False, strict=False)],
]
_Trials = Annotated[int, Field(ge=1, le=10_000)]


class RangeKeys(Strict):
    """What one hyperparameter is chosen from: `log` or `uniform` [low, high], or a `choice`."""

    log: Annotated[_Ends, Field(strict=False)] | None = None
    uniform: Annotated[_Ends, Field(strict=False)] | None = None
    choice: list[Any] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [name for name in ("log", "uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{len(given)} of log, uniform, choice: write one, such as {{log: [1e-4, 1e-2]}}"
            )
        return self


class TuneKeys(Strict):
    """Trials by which every candidate gets its settings, before the comparison; docs/tuning.md.

    `trials` a candidate, workload and round, the same for all or by candidate; each on `seeds`
    seeds of their own and on `ranks` ranks. `widen` says how often the search is widened where a
    learning rate at its edge won. `untuned` candidates are compared as declared.
    """

    trials: _Trials | dict[str, _Trials]
    search: Annotated[Literal["sobol", "optuna"], BeforeValidator(_search)] = "sobol"
    space: dict[str, dict[str, RangeKeys]] | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    ranks: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None
    widen: Annotated[int, Field(ge=0, le=5)] = 1
    untuned: tuple[str, ...] = Field((), strict=False)
    allow_unequal: bool = False
