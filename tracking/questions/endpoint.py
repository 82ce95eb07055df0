"""Endpoints: the numbers of a trial that questions are asked about, as records name them.

The two that every study has are `FINAL` and `AUC`; any logged metric makes others. What the value
of a trial is, `tracking.compare.endpoints` finds in its logs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from jobs.contract.workloads.workload import MetricSpec, Workload

Measure = Literal["final", "auc", "time_to_target"]
Clock = Literal["steps", "seconds"]

# The unit of differences of times: the logarithm of the factor by which the candidate is faster.
LOG_FACTOR = "log factor"


@dataclass(frozen=True)
class Endpoint:
    """A number of a trial that comparisons are made of.

    `measure` is the last value of a metric ("final"), the mean height of its curve ("auc"), or the
    time at which its curve is first at the `target`. Without a `metric` it is that of each
    workload, read as the workload says; one that is named has a `goal` and a `unit` of its own,
    and maybe a `chance`, which a diverged trial counts as. `clock` is what the curve goes over.
    `one_sided` asks only if the candidate is better, and says nothing if it is worse.
    """

    measure: Measure
    metric: str | None = None
    goal: Literal["max", "min"] = "max"
    unit: Literal["fraction", "percent", "plain"] = "plain"
    chance: float | None = None
    target: float | None = None
    clock: Clock = "steps"
    one_sided: bool = False

    @property
    def name(self) -> str:
        """How records name it; the one-sided question has the name of the two-sided one."""
        over = " over seconds" * (self.clock == "seconds")
        if self.measure == "time_to_target":
            if self.metric is None and self.target is None:
                return f"{self.clock} to target"
            return f"{self.clock} to {self.metric or 'target'} {self.target:g}"
        if self.metric is None:
            return _STANDARD_NAMES[self.measure] + over
        return f"final {self.metric}" if self.measure == "final" else f"AUC of {self.metric}{over}"

    def __str__(self) -> str:
        """Return the name, and how it is read and asked about if that is not usual."""
        read = "" if self.metric is None else f", goal {self.goal}"
        return self.name + read + ", one-sided" * self.one_sided

    @property
    def is_standard(self) -> bool:
        """True if it is one of the two that every study has, one-sided or not."""
        return replace(self, one_sided=False) in STANDARD

    def read(self, workload: Workload) -> MetricSpec:
        """Return how its metric is read on a workload."""
        own = workload.metric_spec
        if self.metric is None:
            return own if self.target is None else replace(own, target=self.target)
        chance = self.chance
        if chance is None and self.metric == (own.final_metric or own.metric):
            chance = own.chance
        return MetricSpec(self.metric, self.metric, self.goal, self.unit, chance, self.target)

    def to_json(self) -> str | dict[str, Any]:
        """Return its record: a name of old for the two standard ones, else what is not usual."""
        if self in STANDARD:
            return self.name
        usual = {one.name: one.default for one in fields(self)}
        return {key: value for key, value in asdict(self).items() if value != usual[key]}

    @staticmethod
    def from_json(record: str | Mapping[str, Any]) -> "Endpoint":
        """Return the endpoint of a record that `to_json` made."""
        if isinstance(record, str):
            return next(one for one in STANDARD if one.name == record)
        return Endpoint(**record)


# The words of sweep files and records, named after the metrics of images; for the user's own
# training they stand for the final score and the area under the curve of its metric.
_STANDARD_NAMES: Mapping[str, str] = {"final": "final_test_accuracy", "auc": "val_auc"}

FINAL, AUC = Endpoint("final"), Endpoint("auc")
STANDARD = (FINAL, AUC)
TO_OWN_TARGET = Endpoint("time_to_target")  # that of each workload, in steps


def list_endpoints(declared: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Return all that a comparison measures: the standard ones first, then the others declared."""
    named = {one.name: one for one in declared}
    standard = [named.pop(one.name, one) for one in STANDARD]
    return (*standard, *named.values())
