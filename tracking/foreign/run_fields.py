"""Which fields of a run name its candidate, seed and workload, and how values are spelled."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.workloads.workload import MetricSpec
from tracking.foreign.run import RunSourceError

_KINDS = ("params", "tags", "attributes")
# No number begins with a zero that could be left out: "007" and "00e1" are names.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*|(?=\.\d))(\.\d*)?([eE][+-]?\d+)?")
_LARGEST_WHOLE = 1e15


@dataclass(frozen=True)
class RunFields:
    """The fields, such as "params.optimizer", that name the candidate, seed and workload of a run.

    Several of them name it together. Without one for the workload, all runs are of one; without
    one for the seed, they have no pairs.
    """

    candidate: tuple[str, ...]
    seed: tuple[str, ...]
    workload: tuple[str, ...]
    metric_spec: MetricSpec

    @property
    def all(self) -> tuple[str, ...]:
        """Return the fields, each once."""
        return tuple(dict.fromkeys((*self.candidate, *self.seed, *self.workload)))

    def missing(self, fields: Mapping[str, str]) -> tuple[str, ...]:
        """Return what a run lacks to be compared; only the first of its candidate's is needed.

        An optimizer has no momentum if its runs have none.
        """
        needed = (*self.candidate[:1], *self.seed, *self.workload)
        return tuple(name for name in dict.fromkeys(needed) if name not in fields)

    def name_candidate(self, fields: Mapping[str, str]) -> str:
        """Return the name of a run's candidate, as grids name theirs: adamw[lr=0.001]."""
        first, *others = self.candidate
        settings = [
            f"{_last_part(name)}={spell_value(fields[name])}" for name in others if name in fields
        ]
        return spell_value(fields[first]) + (f"[{', '.join(settings)}]" if settings else "")

    def name_workload(self, fields: Mapping[str, str], otherwise: str) -> str:
        """Return the name of a run's workload."""
        return _join(fields, self.workload) or otherwise

    def name_seed(self, fields: Mapping[str, str]) -> str:
        """Return what pairs a run; empty without a field for it."""
        return _join(fields, self.seed)


def split_fields(text: str | None) -> tuple[str, ...]:
    """Return the fields that an option names, separated by commas, each once."""
    names = (name.strip() for name in (text or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def check_fields(fields: RunFields) -> None:
    """Raise RunSourceError for what names no field of a run of MLflow."""
    for field in fields.all:
        if field.partition(".")[0] not in _KINDS or not field.partition(".")[2]:
            raise RunSourceError(
                f"{field!r} is no field of a run: write params.NAME, tags.NAME or attributes.NAME"
            )


def spell_value(text: str) -> str:
    """Spell numbers of one value alike: 1e-3 as 0.001, 1.0 as 1; other texts as they are."""
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        return text
    if number.is_integer() and abs(number) < _LARGEST_WHOLE:
        return str(int(number))
    return repr(number)


def find_candidate(wanted: str, names: Sequence[str]) -> str | None:
    """Return the candidate that a text names, however its numbers are spelled."""
    if wanted in names:
        return wanted
    by_key = {_key(name): name for name in names}
    return by_key.get(_key(wanted))


def _key(name: str) -> tuple[str, ...]:
    return tuple(spell_value(part) for part in re.split(r"[\[\],=\s]+", name) if part)


def _last_part(field: str) -> str:
    kind, _, name = field.partition(".")
    return name if kind in _KINDS and name else field


def _join(fields: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(spell_value(fields[name]) for name in names)
