"""What a search for one candidate's settings has found, in words and as tables for a terminal."""

from collections.abc import Mapping

from tracking.numerals import number
from tracking.tables import Table, aligned
from tracking.tuning import RATE, Searched
from tracking.tuning_text import value_text

_MOST = 10  # settings that a terminal lists


def search_text(found: Searched, weights: Mapping[str, float], fresh: float | None) -> str:
    """Return what was found on one workload: the best settings, what matters, what is next."""
    unit = ", %" * found.in_points
    table = _best(found, unit)
    more = len(found.settings) - len(table.rows)
    parts = [aligned(table)] + ([f"and {more} more, in the report"] if more > 0 else [])
    if weights:
        listed = ", ".join(f"{name} {100 * part:.0f} %" for name, part in weights.items())
        parts.append(f"what the spread is due to: {listed}")
    if found.edge:
        parts.append(
            f"the best learning rate is the {found.edge} of all that were tried: a better one may "
            "lie beyond; write a wider `space` in `tune:`"
        )
    if fresh is not None:
        parts.append(
            f"on a fresh seed the best one ends at {number(fresh)}{unit.lstrip(',')}: the best of "
            "many is lucky as well, so this is the number to expect"
        )
    if found.values:
        values = ", ".join(f"{name}: {dict(found.values)[name]}" for name in _names(found))
        parts.append(
            f"next: candidates: {{{found.candidate}: {{{values}}}}}; against others only after "
            "`tune:` has given all of them as many trials"
        )
    return "\n".join(parts)


def _best(found: Searched, unit: str) -> Table:
    names = _names(found)
    sign = 1.0 if found.lower_is_better else -1.0
    scored = [one for one in found.settings if one.score is not None]
    ranked = sorted(
        scored, key=lambda one: (one.diverged > 0, -one.reached, sign * (one.score or 0.0))
    )
    early = any(one.rung is not None for one in ranked)
    rows = tuple(
        (
            one.name,
            *(value_text(one.hyperparameters.get(name)) for name in names),
            number(one.score),
            str(one.diverged),
            *([str(one.rung or number(None))] if early else []),
        )
        for one in ranked[:_MOST]
    )
    header = (f"{found.workload}: setting", *names, f"{found.metric}{unit}", "diverged")
    header += ("ended early at",) if early else ()
    return Table("The best settings", header, rows)


def _names(found: Searched) -> list[str]:
    return sorted((name for name, _ in found.space), key=lambda name: (name != RATE, name))
