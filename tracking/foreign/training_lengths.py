"""How long runs were trained: final values after unlike numbers of steps are no comparison."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from tracking.foreign.measured_run import MeasuredRun
from tracking.foreign.run import RunSourceError
from tracking.foreign.run_settings import Cell

_NAMED = 4  # candidates whose ends a message lists


def leave_out_unlike_lengths(
    cells: Mapping[Cell, MeasuredRun],
) -> tuple[dict[Cell, MeasuredRun], list[str]]:
    """Return the runs, those that ended elsewhere than most of their workload without a result.

    A run that stopped early may have done so for how it fared, so it is lost by its own doing. The
    notes name them. Raises RunSourceError if the candidates of a workload have no common end.
    """
    kept, early = dict(cells), dict[str, list[str]]()
    for workload, ends in _ends(cells).items():
        usual = _find_usual(workload, ends)
        for cell, one in cells.items():
            if cell[0] == workload and one.state == "completed" and one.end not in (None, usual):
                error = f"ended at step {one.end}, not {usual}"
                kept[cell] = replace(one, state="failed", error=error)
                early.setdefault(f"{workload} ended elsewhere than at step {usual}", []).append(
                    f"{cell[1]}, seed {cell[2]}: {one.end}" if cell[2] else f"{cell[1]}: {one.end}"
                )
    return kept, [
        f"{len(named)} run{'s' if len(named) > 1 else ''} of {what} and "
        f"{'have' if len(named) > 1 else 'has'} no final value to compare "
        f"({'; '.join(named[:_NAMED])}{_more(len(named))}): --any-length takes their last values "
        "all the same, --at-step N compares all runs at step N."
        for what, named in early.items()
    ]


def note_any_length(cells: Mapping[Cell, MeasuredRun]) -> list[str]:
    """Say which runs end at unlike steps, if all are compared all the same."""
    return [
        f"Runs on {workload} end at unlike steps ({_list_ends(ends)}): their last values are "
        "compared as they are, after unequal training."
        for workload, ends in _ends(cells).items()
        if len({end for counts in ends.values() for end in counts}) > 1
    ]


def _ends(cells: Mapping[Cell, MeasuredRun]) -> dict[str, dict[str, Counter[int]]]:
    """Count the last steps of completed runs, by workload and candidate."""
    ends: dict[str, dict[str, Counter[int]]] = {}
    for (workload, candidate, _), one in cells.items():
        if one.state == "completed" and one.end is not None:
            ends.setdefault(workload, {}).setdefault(candidate, Counter())[one.end] += 1
    return ends


def _find_usual(workload: str, ends: Mapping[str, Counter[int]]) -> int:
    """Return the last step of most runs; raises RunSourceError if one candidate alone has it."""
    of_all = sum(ends.values(), Counter[int]())
    step = _most_common(of_all)
    with_it = sum(counts[step] > 0 for counts in ends.values())
    if 2 * of_all[step] > of_all.total() and (with_it > 1 or len(ends) == 1):
        return step
    usual = {_most_common(counts) for counts in ends.values()}
    shortest = min(usual) if len(usual) > 1 else min(of_all)
    raise RunSourceError(
        f"runs on {workload} end at unlike steps ({_list_ends(ends)}), so their last values are "
        f"of unequal training: --at-step {shortest} compares them there, --any-length as they "
        "ended"
    )


def _most_common(counts: Counter[int]) -> int:
    return max(counts, key=lambda step: (counts[step], step))


def _list_ends(ends: Mapping[str, Counter[int]]) -> str:
    named = []
    for candidate, counts in list(ends.items())[:_NAMED]:
        low, high = min(counts), max(counts)
        named.append(f"{candidate}: {low}" + (f" to {high}" if high > low else ""))
    return "; ".join(named) + _more(len(ends))


def _more(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""
