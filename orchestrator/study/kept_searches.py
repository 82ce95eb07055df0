"""The searches that a study keeps, once its comparison is frozen, if no number of them is written.

By the sweep file alone more seeds could move blocks to other searches, and leave results behind; a
space that is not written could be another one than when the study began.
"""

import copy
from dataclasses import replace

from jobs.contract.layout import Layout
from orchestrator.study.decisions import name_analysis, read_decision, read_numbered
from orchestrator.study.tuning_rounds import winners_name
from orchestrator.sweep.sweep import Sweep, resolve_sweep
from orchestrator.sweep.tune_spaces import early_space, find_idle


def keep_searches(sweep: Sweep, layout: Layout) -> Sweep:
    """Return a sweep with the searches that its study has.

    The document stays as it is written, so that a study that confirms this one begins afresh.
    """
    if sweep.keys.tune is None:
        return sweep
    kept = _keep_number(_keep_spaces(sweep, layout), layout)
    return replace(kept, document=sweep.document)


def _keep_spaces(sweep: Sweep, layout: Layout) -> Sweep:
    """Return a sweep with the usual spaces that its study began with, if those were early ones."""
    tune = sweep.keys.tune
    written = {} if tune is None else dict.fromkeys((*(tune.space or {}), *tune.untuned))
    known = {
        key
        for one in read_numbered(layout, name_analysis)
        for key in one["analysis"]["candidates"].values()
    } | {
        one.get("key")
        for record in read_numbered(layout, winners_name)
        for one in record["chosen"]
    }
    for name, entry in sweep.keys.candidates.items():
        early = None if {name, "*"} & written.keys() else early_space(name, entry or {})
        if not early or known <= {one.key for one in sweep.candidates}:
            continue
        data = copy.deepcopy(sweep.document.data)
        space = {key: axis.to_json() for key, axis in early.items()}
        data["tune"]["space"] = {**(data["tune"].get("space") or {}), name: space}
        kept = resolve_sweep(replace(sweep.document, data=data))
        if known & {one.key for one in kept.candidates} - {one.key for one in sweep.candidates}:
            sweep = kept
    return sweep


def _keep_number(sweep: Sweep, layout: Layout) -> Sweep:
    if _was_searched_once(layout):
        return _search_once(sweep)
    frozen, tune = read_numbered(layout, name_analysis), sweep.keys.tune
    rule = frozen[-1]["analysis"].get("tuning") if frozen else None
    if rule is None or tune is None or tune.repeats is not None:
        return sweep
    kept, seeds = rule["repeats"], sweep.keys.seeds
    compared = {*frozen[-1]["analysis"]["blocks"]} & {*seeds.blocks}
    moves = any(block % sweep.searches != block % kept for block in compared)
    if not moves or seeds.looks or find_idle(kept, seeds.blocks):
        return sweep
    return _with_repeats(sweep, kept)


def _was_searched_once(layout: Layout) -> bool:
    """Return True if an early version has frozen the analysis of a study, or chosen its winners.

    The first record tells: later ones may be of this version.
    """
    frozen, winners = (read_decision(layout, name(1)) for name in (name_analysis, winners_name))
    if frozen is not None and "tuned" in frozen["analysis"]:
        return True
    return winners is not None and any("search" not in one for one in winners["chosen"])


def _search_once(sweep: Sweep) -> Sweep:
    """Return a sweep as it was meant before searches were repeated.

    It has one search unless more are written; the points of the first are those of the root seed
    on every workload.
    """
    tune, root = sweep.keys.tune, sweep.keys.root_seed
    if tune is not None and tune.repeats is None:
        sweep = _with_repeats(sweep, 1)
    runs = (replace(one, root=root) if one.number == 0 else one for one in sweep.search_runs)
    return replace(sweep, search_runs=tuple(runs))


def _with_repeats(sweep: Sweep, count: int) -> Sweep:
    data = copy.deepcopy(sweep.document.data)
    data["tune"]["repeats"] = count
    kept = resolve_sweep(replace(sweep.document, data=data))
    return replace(kept, document=sweep.document)
