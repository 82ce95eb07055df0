"""Which runs of a file or folder are read: `optimizer = 'adamw' and lr != 0.1`, as for MLflow."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tracking.foreign.run import ForeignRun, RunSourceError, list_names, suggest

_CONDITION = re.compile(
    r"(?P<field>([^\s=!\"`]+\.)?(\"[^\"]+\"|`[^`]+`)|[^\s=!]+)\s*(?P<sign>!=|==?)\s*"
    r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\"]\S*)"
)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)


class Condition(NamedTuple):
    """A field that has a value, or has not."""

    field: str
    is_equal: bool
    value: str

    def holds(self, run: ForeignRun) -> bool:
        """Return True for a run that has the field as the condition says."""
        value = run.fields.get(self.field)
        return value is not None and (value == self.value) == self.is_equal


def parse_filter(text: str) -> list[Condition]:
    """Return the conditions of a filter; raises RunSourceError for any other text."""
    conditions = []
    rest = text.strip()
    while True:
        match = _CONDITION.match(rest)
        after = "" if match is None else rest[match.end() :]
        joint = _AND.match(after)
        if match is None or (after and joint is None):
            raise RunSourceError(
                f"--filter {text!r}: {_AND.split(rest)[0]!r} is no condition; write FIELD = "
                "'VALUE' or FIELD != 'VALUE', several with `and` between them (a field with a "
                'blank in it as "FIELD")'
            )
        value = match["value"]
        if value[0] in "'\"":
            value = value[1:-1]
        field = re.sub(r"[\"`]", "", match["field"])
        conditions.append(Condition(field, match["sign"] != "!=", value))
        if joint is None:
            return conditions
        rest = after[joint.end() :]


def filter_runs(runs: Sequence[ForeignRun], text: str, label: str) -> list[ForeignRun]:
    """Return the runs of which all conditions hold; raises RunSourceError if none is left."""
    if not text:
        return list(runs)
    conditions = parse_filter(text)
    known = sorted({name for run in runs for name in run.fields})
    for one in conditions:
        if one.field not in known:
            raise RunSourceError(
                f"--filter {text!r}: no run of {label} has {one.field!r}"
                f"{suggest(one.field, known)}: there are {list_names(known)}"
            )
    left = [run for run in runs if all(one.holds(run) for one in conditions)]
    if not left:
        raise RunSourceError(f"--filter {text!r} leaves none of the {len(runs)} runs of {label}")
    return left
