"""Settings that vary inside a candidate: its answer is then about a mixture of candidates."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tracking.foreign.run import ForeignRun
from tracking.foreign.run_fields import RunFields, spell_value

Cell = tuple[str, str, str]  # workload, candidate, seed

_LISTED_VALUES = 4
_LISTED_SETTINGS = 3
_ABSENT = "none"
STATE_COLUMNS = ("state", "status")  # of a table: how a run has ended


def note_mixtures(cells: Mapping[Cell, ForeignRun], fields: RunFields) -> list[str]:
    """Say which settings vary inside a candidate, on one workload, and how to tell them apart."""
    names = _settings(cells.values(), fields)
    varying: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in names:
        values: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (workload, candidate, _), run in cells.items():
            values[workload, candidate].append(spell_value(run.fields.get(name, _ABSENT)))
        mixed = {
            candidate: tuple(dict.fromkeys(several))
            for (_, candidate), several in values.items()
            if _looks_set(name, several)
        }
        if mixed and not _is_shared(name, cells):
            varying[name] = mixed
    if not varying:
        return []
    first = next(iter(varying))
    candidate, found = next(iter(varying[first].items()))
    more = len(varying) - _LISTED_SETTINGS
    others = f" and {more} more" if more > 0 else ""
    named = ", ".join(list(varying)[:_LISTED_SETTINGS]) + others
    verb = "varies" if len(varying) == 1 else "vary"
    where = "a candidate" if len({*varying[first]}) > 1 or len(varying) > 1 else candidate
    text = (
        f"{named} {verb} inside {where} ({candidate}: {first} {_list_values(found)}), so that its "
        f"answers are about a mixture: {_way_out(fields, first)} tells them apart."
    )
    return [text]


def explain_duplicate(
    runs: Sequence[ForeignRun], fields: RunFields
) -> tuple[str, str] | tuple[None, None]:
    """Return a setting in which runs of one cell differ, spelled, and the option that names it."""
    for name in _settings(runs, fields):
        values = [spell_value(run.fields.get(name, _ABSENT)) for run in runs]
        named = all(run.fields.get(name) in (run.name, run.id) for run in runs)
        if len(set(values)) > 1 and not named and not any("/" in value for value in values):
            return f"{name} ({_list_values(dict.fromkeys(values))})", _way_out(fields, name)
    return None, None


def _way_out(fields: RunFields, setting: str) -> str:
    return f"--candidate {','.join((*fields.candidate, setting))}"


def _list_values(values: Iterable[str]) -> str:
    listed = list(values)
    more = len(listed) - _LISTED_VALUES
    return ", ".join(listed[:_LISTED_VALUES]) + (f" and {more} more" if more > 0 else "")


def _settings(runs: Iterable[ForeignRun], fields: RunFields) -> list[str]:
    """Return the fields that may be settings; tags and attributes are none."""
    names = {name for run in runs for name in run.fields}
    return sorted(
        name
        for name in names.difference(fields.all)
        if not name.startswith(("tags.", "attrib")) and name.lower() not in STATE_COLUMNS
    )


def _looks_set(name: str, values: Sequence[str]) -> bool:
    """Return True if values of the runs of a candidate differ as settings do.

    Texts of which each run has another one are names of files and the like; so are numbers in
    the columns of a table, which may be results.
    """
    n, distinct = len(values), len(set(values))
    if distinct < 2:
        return False
    if not name.startswith("params."):
        return distinct <= n / 2
    are_numbers = all(_is_number(value) for value in values)
    return are_numbers or distinct < n or (n == 2 and not any("/" in value for value in values))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == _ABSENT
    return True


def _is_shared(name: str, cells: Mapping[Cell, ForeignRun]) -> bool:
    """Return True if all candidates have the same value on every seed, as a seed of the data."""
    by_block: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (workload, _, seed), run in cells.items():
        by_block[workload, seed].append(spell_value(run.fields.get(name, _ABSENT)))
    paired = [values for values in by_block.values() if len(values) > 1]
    return bool(paired) and all(a == b for values in paired for a, b in pairwise(values))
