"""The keys of a sweep file that say how candidates are tuned before they are compared.

What they mean for a candidate is `orchestrator.space`'s.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.sweep_file import choices
from orchestrator.validation import MOST_RANKS, Strict

_SEARCHES = ("sobol", "optuna", "asha")


def _search(value: Any) -> Any:
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
    learning rate at its edge won. `untuned` candidates are compared as declared. With `asha` one
    setting in `reduction_factor` goes on at each of the `rungs`, which are 3 and 2 unless said.
    """

    trials: _Trials | dict[str, _Trials]
    search: Annotated[Literal["sobol", "optuna", "asha"], BeforeValidator(_search)] = "sobol"
    space: dict[str, dict[str, RangeKeys]] | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    ranks: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None
    widen: Annotated[int, Field(ge=0, le=5)] = 1
    untuned: tuple[str, ...] = Field((), strict=False)
    allow_unequal: bool = False
    reduction_factor: Annotated[int, Field(ge=2, le=10)] | None = None
    rungs: Annotated[int, Field(ge=1, le=5)] | None = None

    @model_validator(mode="after")
    def _of_asha(self) -> Self:
        given = [name for name in ("reduction_factor", "rungs") if getattr(self, name) is not None]
        if given and self.search != "asha":
            raise ValueError(f"{given[0]} is asha's: write search: asha, or leave it out")
        if self.search == "asha" and self.seeds > 1:
            raise ValueError(
                f"seeds: {self.seeds}, and asha judges trials one by one: a setting would end on "
                "one seed and go on on another; leave `seeds` out, or write search: sobol"
            )
        return self
