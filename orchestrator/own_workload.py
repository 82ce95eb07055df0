"""A workload of the user's own: a function or a command line, and how its results are read."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from jobs import command_line
from jobs.trial import Candidate, Reading, UserWorkload, canonical_json
from orchestrator.validation import MOST_RANKS, Strict, printable
from thermolion.registry import checked
from tracking.scale import Scale


def _function(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError(
            f"{value!r} names no function: write module:function, such as my_lab.train:train"
        )
    return value


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no mapping: write options: {{width: 64}}")
    return {key: checked("options", item) for key, item in value.items()}


class UserWorkloadKeys(Strict):
    """The user's own training; how its results are read takes no part in a trial's id."""

    name: Annotated[str, Field(max_length=64), AfterValidator(printable)]
    train: Annotated[str, PlainValidator(_function, json_schema_input_type=str)] | None = None
    command: str | None = None
    options: Annotated[
        dict[str, Any], PlainValidator(_options, json_schema_input_type=dict[str, Any])
    ] = Field(default_factory=dict)
    steps: Annotated[int, Field(ge=1, le=2**53)] | None = None
    metric: Annotated[str, AfterValidator(printable)]
    final_metric: Annotated[str, AfterValidator(printable)] | None = None
    goal: Literal["max", "min"] = "max"
    unit: Literal["fraction", "percent", "plain"] = "plain"
    chance: Annotated[float, Field(allow_inf_nan=False, strict=False)] | None = None
    target: Annotated[float, Field(allow_inf_nan=False, strict=False)] | None = None
    ranks: Annotated[int, Field(ge=1, le=MOST_RANKS)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.train is not None and self.command is not None:
            raise ValueError("`train` and `command` are both here: keep one of the two")
        return self

    @model_validator(mode="after")
    def _target_in_its_unit(self) -> Self:
        wrong = None if self.target is None else Scale.of(self._reading()).complaint(self.target)
        if wrong:
            raise ValueError(f"target is {self.target}: {wrong}")
        return self

    def _reading(self) -> Reading:
        return Reading(
            self.metric, self.final_metric, self.goal, self.unit, self.chance, self.target
        )

    def record(self, name: str, ranks: int) -> UserWorkload:
        """Return the workload as trials carry it; `ranks` is what it has unless it says so."""
        return UserWorkload(
            name=name,
            train=self.train,
            command=self.command,
            options=self.options,
            steps=self.steps,
            reading=self._reading(),
            ranks=self.ranks or ranks,
        )


def check_command(workload: UserWorkload, candidate: Candidate, written: Collection[str]) -> None:
    """Raise DataError for a command that cannot be filled for a candidate.

    It has to use the hyperparameters `written` for the candidate and the seed, or they would have
    no effect.
    """
    assert workload.command is not None
    names = command_line.available(workload.options, candidate.hyperparameters)
    command_line.checked_command(workload.command, names, [*sorted(written), "seed"])


def filling(workload: UserWorkload, candidate: Candidate) -> str:
    """Return what a command takes of a candidate: equal texts are equal commands."""
    assert workload.command is not None
    values = {
        **candidate.hyperparameters,
        "optimizer": candidate.optimizer,
        "candidate": candidate.name,
        "hyperparameters": dict(candidate.hyperparameters),
        "trial": candidate.content(),
        "trial_file": candidate.content(),
    }
    used = sorted(command_line.uses(workload.command))
    return canonical_json([values.get(name) for name in used])
