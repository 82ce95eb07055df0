"""How settings were found, in words and tables: the report's section on tuning.

Text cells, as in `tables`; decides nothing.
"""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from tracking.comparison import Comparison
from tracking.numerals import number
from tracking.tables import Section, Table
from tracking.tuning import Searched, TuningFound


def section(comparison: Comparison) -> Section | None:
    """Return the section, None where nothing was tuned."""
    found = comparison.tuning
    if found is None:
        return None
    tables = [_chosen(found)]
    if any(one.expected for one in found.searched):
        tables.append(_settings(found))
    return Section("tuning", "Tuning", _note(found), tuple(tables))


def caveats(found: TuningFound | None) -> tuple[str, ...]:
    """Return what a reader of the verdicts must know of the tuning."""
    if found is None:
        return ()
    said = []
    if found.unequal:
        listed = ", ".join(
            [*dict.fromkeys(f"{one.candidate} {len(one.settings)}" for one in found.searched)]
            + [f"{name} none" for name in found.untuned]
        )
        said.append(
            f"Candidates were tuned with unequal budgets (settings tried: {listed}): a difference "
            "may be one of tuning."
        )
    edges = [
        f"{one.candidate} on {one.workload} ({one.edge})" for one in found.searched if one.edge
    ]
    if edges:
        said.append(
            f"The chosen learning rate is the lowest or highest of all that were tried: "
            f"{', '.join(edges)}. A better one may lie beyond."
        )
    early = [
        f"{one.candidate} on {one.workload}"
        for one in found.searched
        if any(s.name == one.chosen and s.rung is not None for s in one.settings)
    ]
    if early:
        said.append(
            f"The chosen setting itself ended early: {', '.join(early)}. None that was trained to "
            "the end had a result, so it was chosen by less than its budget."
        )
    return tuple(said)


def rows(found: TuningFound | None) -> Iterator[dict[str, Any]]:
    """Yield one row for every setting that was tried, in full precision."""
    for one in () if found is None else found.searched:
        for setting in one.settings:
            yield {
                "workload": one.workload,
                "candidate": one.candidate,
                "setting": setting.name,
                "metric": one.metric,
                "score": setting.score,
                "seeds": one.seeds,
                "diverged": setting.diverged,
                "rung": setting.rung,
                "chosen": setting.name == one.chosen,
            } | {name: setting.hyperparameters.get(name) for name, _ in one.space}


def _note(found: TuningFound) -> str:
    counts = sorted({len(one.settings) for one in found.searched})
    budget = (
        f"{counts[0]} settings" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} settings"
    )
    rounds = (
        "in one round"
        if found.rounds == 1
        else f"in {found.rounds} rounds, the later ones because somebody's best learning rate lay "
        "at an edge: its space was widened by a factor of ten there, and all were given as many "
        "trials again"
    )
    early = [one for of in found.searched for one in of.settings if one.rung is not None]
    ended = ""
    if early:
        ended = (
            f" {len(early)} settings ended early, because others were better at a rung; who was "
            "there before turns on the order of the trials, which another run need not repeat."
        )
    return (
        f"Before the comparison every tuned candidate had {budget} tried on every workload, "
        f"{rounds} (search: {found.search}).{ended} The best by validation data was compared, on "
        "other seeds; no test data and no seed of the comparison had a part in the choice. What "
        "is concluded holds for this budget."
    )


def _chosen(found: TuningFound) -> Table:
    header = (
        "workload",
        "candidate",
        "space",
        "tried",
        "diverged",
        "chosen",
        "validation",
        "at an edge",
    )
    cells: list[tuple[str, ...]] = [
        (
            one.workload,
            one.candidate,
            "; ".join(f"{name} {words}" for name, words in one.space) + " (widened)" * one.widened,
            _tried(one),
            str(sum(setting.diverged > 0 for setting in one.settings)),
            _values(one),
            _score(one),
            one.edge or "no",
        )
        for one in found.searched
    ]
    cells += [
        (number(None), name, "as declared, not tuned", "0", *[number(None)] * 4)
        for name in found.untuned
    ]
    return Table("Spaces and chosen settings", header, tuple(cells))


def _settings(found: TuningFound) -> Table:
    """The expected best of some of the settings: what a smaller budget would have brought."""
    header = ("workload", "candidate", "metric", "seeds", "of one", "of half", "of all")
    cells = tuple(
        (
            one.workload,
            one.candidate,
            one.metric + ", %" * one.in_points,
            str(one.seeds),
            *(number(value) for value in _ends(one)),
        )
        for one in found.searched
    )
    return Table("Expected best of so many settings, by validation data", header, cells)


def _ends(one: Searched) -> tuple[float | None, ...]:
    expected = one.expected
    if not expected:
        return None, None, None
    return expected[0], expected[(len(expected) - 1) // 2], expected[-1]


def _tried(one: Searched) -> str:
    early = sum(setting.rung is not None for setting in one.settings)
    if not early:
        return str(len(one.settings))
    spent = fmean(setting.part for setting in one.settings)
    return f"{len(one.settings)}, {early} ended early ({100 * spent:.0f} % of the budget)"


def _score(one: Searched) -> str:
    score = next((s.score for s in one.settings if s.name == one.chosen), None)
    return number(score) + (" %" if one.in_points and score is not None else "")


def _values(one: Searched) -> str:
    given = [f"{name} = {value_text(value)}" for name, value in one.values]
    return ", ".join(given) or number(None)


def value_text(value: Any) -> str:
    """Write the value of a hyperparameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
