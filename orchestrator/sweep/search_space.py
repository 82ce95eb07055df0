"""The space in which a candidate's settings are searched: an axis a hyperparameter, and points.

Points fill a cube evenly: Sobol's sequence, shifted at random by a seed of the study. It is made
of integers alone, and is ours rather than a library's: ids of trials depend on these points, so
they must be the same on every machine and with every version of everything. What a sweep file may
say of a space is `orchestrator.sweep.tune_spaces`'.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.contract.asha import Rungs
from jobs.contract.content import digest
from jobs.contract.trial import Candidate
from jobs.contract.workloads.workload import Workload
from thermolion import registry

WIDENED = "lr"  # the axis that is widened if its edge wins
BITS = 32
_DIGITS = 6  # significant: equal on machines whose exp and log differ in the last bit

# Joe and Kuo (2008), new-joe-kuo-6: by dimension from the second on, the coefficients of a
# primitive polynomial (its degree is the number of the m), and the first m.
_DIRECTIONS: Sequence[tuple[int, tuple[int, ...]]] = (
    (0, (1,)),
    (1, (1, 3)),
    (1, (1, 3, 1)),
    (2, (1, 1, 1)),
    (1, (1, 1, 3, 3)),
    (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)),
    (4, (1, 1, 5, 5, 5)),
    (7, (1, 1, 7, 11, 19)),
)
MOST_DIMENSIONS = len(_DIRECTIONS) + 1


def point(number: int, dimensions: int, seed: int | None) -> tuple[float, ...]:
    """Return point `number`, from 0, in [0, 1)^dimensions; `seed` None leaves out the shift.

    A digital shift (each coordinate xor a constant) keeps the sequence even, and moves its first
    point out of the corner. Point k is the same however many points are asked for, and its first
    coordinates are the same in more dimensions. There are at most `MOST_DIMENSIONS`.
    """
    gray = number ^ (number >> 1)
    return tuple(
        (_coordinate(gray, dimension) ^ _shift(seed, dimension)) / 2**BITS
        for dimension in range(dimensions)
    )


def search_root(root: int, search: int, workload: str | None) -> int:
    """Return the seed of the points of one search on one workload; candidates share it.

    Search 0 of the workload that a sweep names first (None) has the seed of the study; all others
    (the workload by its key) have one of their own, so that no luck of theirs is shared.
    """
    if search == 0 and workload is None:
        return root
    text = f"search/{root}/{search}/{workload}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _coordinate(gray: int, dimension: int) -> int:
    coordinate = 0
    for bit, direction in enumerate(_directions(dimension, gray.bit_length())):
        if gray >> bit & 1:
            coordinate ^= direction
    return coordinate


def _directions(dimension: int, count: int) -> list[int]:
    """Return the first direction numbers of a dimension, each with its bits at the top."""
    if dimension == 0:
        return [1 << (BITS - 1 - bit) for bit in range(count)]
    polynomial, first = _DIRECTIONS[dimension - 1]
    degree = len(first)
    m = list(first)
    for bit in range(degree, count):
        new = m[bit - degree] ^ (m[bit - degree] << degree)
        for term in range(1, degree):
            if polynomial >> (degree - 1 - term) & 1:
                new ^= m[bit - term] << term
        m.append(new)
    return [m[bit] << (BITS - 1 - bit) for bit in range(count)]


def _shift(seed: int | None, dimension: int) -> int:
    if seed is None:
        return 0
    text = f"sobol/{seed}/{dimension}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[: BITS // 8], "big")


@dataclass(frozen=True)
class Axis:
    """The values of one hyperparameter, from `low` to `high` or one of `choices`.

    With `whole` they are whole numbers.
    """

    kind: Literal["log", "uniform", "choice"]
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    whole: bool = False

    def value_at(self, place: float) -> Any:
        """Return the value at `place` in [0, 1), from the low end to the high one."""
        if self.kind == "choice":
            return self.choices[int(place * len(self.choices))]
        if self.kind == "log":
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + place * (high - low))
        else:
            value = self.low + place * (self.high - self.low)
        return self.snap(value)

    def snap(self, value: float) -> Any:
        """Return the value of the range that is nearest: a whole number, or one of few digits."""
        return round(value) if self.whole else round_digits(value)

    def in_words(self) -> str:
        """Say from what values are chosen: `1e-05 to 0.01, log`."""
        if self.kind == "choice":
            return f"one of {', '.join(map(str, self.choices))}"
        return f"{self.low:g} to {self.high:g}, {self.kind}"

    def to_json(self) -> dict[str, Any]:
        if self.kind == "choice":
            return {"choice": list(self.choices)}
        return {self.kind: [self.low, self.high]}


Space = Mapping[str, Axis]


@dataclass(frozen=True)
class Search:
    """How a candidate is tuned: `trials` a round, search and workload, each on `seeds` seeds.

    `ranks` is the number of ranks of a tuning trial, None if it is as in the comparison. `root` is
    the study's: each of its searches derives the seed of its points, which all candidates get in
    their own spaces (`SearchRun`). With
    `optuna`, points are the first half of a round; the rest is suggested in two batches. With
    `asha`, one setting in `reduction` goes on at each of so many `rungs`. `widen` is how often the
    search may be widened; it takes no part in the search's identity. Of the names of the space,
    `args` are arguments of the candidate's training, all others hyperparameters.
    """

    space: Space
    trials: int
    seeds: int
    ranks: int | None
    root: int
    method: Literal["sobol", "optuna", "asha"] = "sobol"
    reduction: int = 3
    rungs: int = 2
    widen: int = 0
    args: frozenset[str] = frozenset()

    @property
    def drawn(self) -> int:
        """The number of settings of a round that are points, chosen before anything has run."""
        return -(-self.trials // 2) if self.method == "optuna" else self.trials

    def is_drawn(self, number: int) -> bool:
        """Return True if setting `number`, from 1, is a point."""
        return (number - 1) % self.trials < self.drawn

    @property
    def batch(self) -> int:
        """The largest number of settings that are suggested at once."""
        return -(-(self.trials - self.drawn) // 2)

    def rungs_on(self, workload: Workload, competitors: str = "") -> Rungs | None:
        """Return at which budgets trials on a workload may end early; None if they never do.

        They are in the workload's unit. None as well for a budget that is too small for a rung,
        or not declared. `competitors` names those that are compared.
        """
        budget = workload.budget or 0
        parts = [-(-budget // self.reduction**k) for k in range(self.rungs, 0, -1)]
        at = tuple(sorted({part for part in parts if 0 < part < budget}))
        return Rungs(at, self.reduction, competitors) if self.method == "asha" and at else None

    def to_json(self) -> dict[str, Any]:
        method: dict[str, Any] = {} if self.method == "sobol" else {"method": self.method}
        if self.method == "asha":
            method |= {"reduction": self.reduction, "rungs": self.rungs}
        args = {"args": sorted(self.args)} if self.args else {}
        return (
            method
            | args
            | {
                "space": {name: axis.to_json() for name, axis in sorted(self.space.items())},
                "trials": self.trials,
                "seeds": self.seeds,
                "ranks": self.ranks,
                "root": self.root,
            }
        )


@dataclass(frozen=True)
class SearchRun:
    """One of the independent searches for settings on a workload; all candidates take part.

    `number` counts from 0, `root` is the seed of its points. Settings are found for `compared`,
    by content `of`, which the seeds of trials are of as well; its trials are of `workload`, the
    same or a cheaper one.
    """

    number: int
    of: str
    compared: Workload
    workload: Workload
    root: int


def tuned_for(workload: Workload, ranks: int | None) -> str:
    """Return the workload as tuning sees it: content, precision and the ranks of its trials."""
    return f"{workload.key}/{workload.precision}/{ranks or workload.ranks}"


@dataclass(frozen=True)
class TunedCandidate(Candidate):
    """A candidate whose settings are still to be found; those that it has are the space's centre.

    It is what a sweep declares; no trial is of it. With another search it is another candidate.
    """

    search: Search = field(kw_only=True)

    def content(self) -> dict[str, Any]:
        plain = super().content()
        fixed = {k: v for k, v in self.hyperparameters.items() if k not in self.search.space}
        fixed_args = {k: v for k, v in self.args.items() if k not in self.search.args}
        plain.pop("args", None)
        args = {"args": fixed_args} if fixed_args else {}
        return plain | args | {"hyperparameters": fixed, "search": self.search.to_json()}

    def rungs_in(self, run: SearchRun) -> Rungs | None:
        """Return at which budgets its settings in a search may end early, if others are better.

        Settings of another space or search do not compete; more trials or another name change
        nothing.
        """
        search = self.search.to_json()
        del search["trials"]
        workload = run.workload
        on: list[Any] = [workload.key, workload.precision, workload.ranks]
        if run.number or run.of != tuned_for(workload, None):
            on += [run.of, run.number]
        return self.search.rungs_on(workload, digest([self.content() | {"search": search}, on]))

    def setting(self, number: int, axis: Axis | None, run: SearchRun) -> Candidate:
        """Return setting `number`, from 1, of a search; `axis` replaces that of `WIDENED`."""
        space = dict(self.search.space) | ({} if axis is None else {WIDENED: axis})
        names = sorted(space, key=lambda name: (name != WIDENED, name))
        place = point(number - 1, len(names), run.root)
        values = {name: space[name].value_at(at) for name, at in zip(names, place, strict=True)}
        return self.make_setting(number, values, run.number)

    def make_setting(self, number: int, values: Mapping[str, Any], search: int) -> Candidate:
        """Return setting `number`, from 1, of a search, with these values.

        Those of the first search are called `adamw#3`, those of the second `adamw#2.3`.
        """
        label = f"{search + 1}.{number}" if search else str(number)
        return self.with_values(values, name=f"{self.name}#{label}", setting_of=self.name)

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True if the optimizer takes these hyperparameters with those that are fixed."""
        try:
            self.with_values(values)
        except registry.HyperparameterError:
            return False
        return True

    @staticmethod
    def number_of(setting: Candidate) -> int:
        """Return the number of a setting in its search, from 1."""
        return int(setting.name.rpartition("#")[2].rpartition(".")[2])

    @staticmethod
    def search_of(setting: Candidate) -> int:
        """Return the number of the search that a setting is of, from 0."""
        return int(setting.name.rpartition("#")[2].rpartition(".")[0] or 1) - 1

    def values_in(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tuned ones among the hyperparameters and arguments of a setting."""
        spec = registry.OPTIMIZERS.get(self.optimizer)
        # What is at its default, a newer option, may be unrecorded.
        known = {**(spec.later if spec else {}), **settings}
        return {name: known[name] for name in sorted(self.search.space)}

    def with_values(self, values: Mapping[str, Any], **labels: Any) -> Candidate:
        """Return the candidate with these hyperparameters and arguments.

        Raises HyperparameterError.
        """
        args = {name: value for name, value in values.items() if name in self.search.args}
        values = {name: value for name, value in values.items() if name not in args}
        spec = registry.OPTIMIZERS.get(self.optimizer)
        defaults = default_hyperparameters(self.optimizer)
        legal = {n: registry.validate(n, value, defaults.get(n)) for n, value in values.items()}
        whole = {**defaults, **self.hyperparameters, **legal}
        # What a registry has as tuples, a trial has as lists.
        whole = {k: list(v) if isinstance(v, tuple) else v for k, v in whole.items()}
        registry.check_together(self.optimizer, whole)
        given: dict[str, Any] = {"name": self.name, "setting_of": None} | labels
        return Candidate(
            optimizer=self.optimizer,
            hyperparameters=spec.recorded(whole) if spec else whole,
            args={**self.args, **args},
            replica=self.replica,
            noise_seed=self.noise_seed,
            **given,
        )


def default_hyperparameters(optimizer: str) -> Mapping[str, Any]:
    """Return the hyperparameters of an optimizer and their defaults; none if it is the user's."""
    spec = registry.OPTIMIZERS.get(optimizer)
    return spec.settable if spec else {}


def round_digits(value: float) -> float:
    """Round to so many digits that every machine has the same value."""
    return float(f"{value:.{_DIGITS}g}")
