"""Confirming a study: its questions once more, in a study of its own that pools nothing.

It has seeds, and searches, that neither the study nor an earlier confirmation has used. The
attempts are counted in the decisions of the study that is confirmed, so that none is forgotten if
its folder is removed. The level of an attempt is `SweepFile.alpha`.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from orchestrator.study.decisions import read_numbered, write_decision
from orchestrator.study.stage import read_stage
from orchestrator.study.study import Study
from orchestrator.sweep.document import Document, SweepError
from orchestrator.sweep.sweep import check_study_name, read_sweep, resolve_sweep
from tracking.outcomes import Outcome, read_outcomes

_name = "confirmation-{}".format


def confirm_study(old: Study, name: str) -> Study:
    """Return the study `name` that asks the questions of another on seeds that are fresh.

    It has as many seeds and looks as the sweep of `old`. Writes nothing; raises SweepError if
    there is nothing to confirm yet, or `name` is a study with another sweep.
    """
    try:
        check_study_name(name)
    except ValueError as error:
        raise SweepError(f"--confirm {name}: {error}") from error
    _check_old(old, name)
    confirms = old.sweep.keys.confirms
    first = Layout(old.layout.root, old.name if confirms is None else confirms.study)
    if not first.sweep.is_file():
        raise SweepError(
            f"{old.name!r} confirms {first.study!r}, which is not below {first.root} any more, so "
            "earlier attempts cannot be counted: put it back (`thermolion studies --restore`)"
        )
    records = read_numbered(first, _name)
    taken = next((n for n, one in enumerate(records) if one["study"] == name), None)
    before = records if taken is None else records[:taken]
    if taken is None:
        block, search = _find_unused(first, records)
    else:
        block, search = records[taken]["first_block"], records[taken]["first_search"]
    attempts = [first.study, *(one["study"] for one in before)]
    data = _write_sweep(old, name, attempts, block, search)
    layout = Layout(old.layout.root, name)
    if layout.sweep.is_file():
        recorded = read_sweep(layout.sweep)
        if recorded.document.data != data:
            raise SweepError(
                f"--confirm {name}: there is a study of that name already, with another sweep; "
                f"`thermolion run {name}` goes on with it, another name makes another study"
            )
        return Study(recorded, layout)
    text = f"# confirms {', '.join(attempts)}: made by --confirm\n{json.dumps(data, indent=2)}\n"
    document = Document(old.sweep.document.path, text, data, old.sweep.document.lines)
    return Study(resolve_sweep(document), layout)


def record_attempt(study: Study) -> None:
    """Count a study that confirms another among its attempts, unless it is counted already.

    Raises SweepError if another confirmation has taken the same seeds meanwhile.
    """
    confirms = study.sweep.keys.confirms
    if confirms is None:
        return
    first = Layout(study.layout.root, confirms.study)
    if not first.sweep.is_file():
        return  # written by hand, or taken to another root: the attempts are those it names
    records = read_numbered(first, _name)
    if any(one["study"] == study.name for one in records):
        return
    number, tune = len(confirms.attempts), study.sweep.keys.tune
    is_next = number == len(records) + 1
    if not is_next or not write_decision(
        first,
        _name(number),
        "confirmation",
        study=study.name,
        first_block=study.sweep.keys.seeds.first,
        blocks=len(study.sweep.keys.seeds.blocks),
        first_search=0 if tune is None else tune.first_search,
        searches=study.sweep.searches,
        alpha=study.sweep.keys.alpha,
    ):
        raise SweepError(
            f"{study.name!r} would be attempt {number} to confirm {first.study!r}, and "
            f"{len(read_numbered(first, _name))} are recorded: another one was sent meanwhile; "
            "give the command once more, it takes the next seeds"
        )


def _check_old(old: Study, name: str) -> None:
    """Raise SweepError, with the cause, if a study has nothing that could be confirmed."""
    if name == old.name:
        raise SweepError(
            f"--confirm {name}: a confirmation is a study of its own, and this is the name of the "
            "one that is to be confirmed: choose another"
        )
    if not old.sweep.questions:
        raise SweepError(
            f"{old.name!r} asks no question that could be confirmed: name its `baseline:`"
        )
    if not old.layout.sweep.is_file():
        raise SweepError(
            f"{old.name!r} was never sent (there is no {old.layout.sweep}), so there is nothing "
            f"to confirm: thermolion run {old.sweep.document.path}"
        )
    stage, trials = read_stage(old)
    if stage.frozen is None:
        why = "its trials have not been sent"
        if stage.awaits_targets or stage.awaits_winners:
            why = "its " + ("tuning has" if stage.awaits_winners else "pilots have") + " not ended"
        raise SweepError(
            f"no analysis of {old.name!r} is frozen, since {why}: there is nothing to confirm; "
            f"see `thermolion status {old.name}`"
        )
    if not any(one.has_result for one in _compared(old.layout, trials)):
        raise SweepError(
            f"no trial of the comparison of {old.name!r} has a result yet, so there is nothing to "
            f"confirm: edit the sweep as you like, the next `thermolion run {old.name}` counts"
        )


def _find_unused(first: Layout, records: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return the first block and search that neither a study nor its confirmations have used."""
    used = [
        (one["first_block"] + one["blocks"], one["first_search"] + one["searches"])
        for one in records
    ]
    for name in (first.study, *(one["study"] for one in records)):
        layout = Layout(first.root, name)
        used += [(one.trial.block + 1, 0) for one in _compared(layout)]
        if layout.sweep.is_file():
            sweep = read_sweep(layout.sweep)
            tune = sweep.keys.tune
            searches = 0 if tune is None else tune.first_search + sweep.searches
            used.append((max(sweep.keys.seeds.blocks) + 1, searches))
    return max(block for block, _ in used), max(search for _, search in used)


def _compared(layout: Layout, trials: Sequence[Trial] = ()) -> Iterator[Outcome]:
    outcomes = read_outcomes(layout.events, trials).values()
    return (one for one in outcomes if one.trial.phase == "compare")


def _write_sweep(
    old: Study, name: str, attempts: Sequence[str], block: int, search: int
) -> dict[str, Any]:
    """Return the sweep of a confirmation as a document's data."""
    seeds = old.sweep.keys.seeds
    fresh: Any = list(range(block, block + len(seeds.blocks)))
    if seeds.looks:
        fresh = {"looks": list(seeds.looks), "first": block}
    data = copy.deepcopy(old.sweep.document.data)
    data |= {
        "study": name,
        "seeds": fresh,
        "confirms": {"study": attempts[0], "attempts": list(attempts)},
    }
    if old.sweep.keys.tune is not None:
        data["tune"]["first_search"] = search
    return data
