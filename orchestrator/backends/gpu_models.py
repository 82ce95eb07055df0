"""Which model of GPU the trials of a block are sent to, so that all of a block have the same one.

A block whose trials have begun stays with their model; others are shared out to all models that
the partition has, the same block always to the same.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence

from jobs.contract.trial import Trial
from orchestrator.backends.base import Need, PlacementRequest
from slurm import limits
from slurm.site.facts import Facts
from slurm.site.site import Site
from tracking.outcomes import Outcome

_Block = tuple[str, str, int]


def split_trials(
    request: PlacementRequest, site: Site, facts: Facts | None
) -> Iterator[tuple[Need, str | None, list[Trial]]]:
    """Yield trials whose jobs ask for the same: with what they need, and the model of their GPUs.

    The model is None if any will do, or there is only one.
    """
    keys = request.study.sweep.keys
    models: dict[str, None] = {}
    if keys.blocks.same == "gpu" and facts is not None and site.gpu_type is None:
        for partition in limits.find_partitions(facts, site):
            models |= dict.fromkeys(partition.gpu_types)
    for need, trials in _by_need(request).items():
        if len(models) < 2 or not keys.resources.gpus_per_node:
            yield need, None, trials
            continue
        groups = group_by_model(trials, request.outcomes, list(models))
        for model in sorted(groups):
            yield need, model, groups[model]


def _by_need(request: PlacementRequest) -> Mapping[Need, list[Trial]]:
    """Group trials by what they are given; those that the sweep serves first."""
    groups: dict[Need, list[Trial]] = {Need(): []}
    for trial in request.trials:
        groups.setdefault(request.needs.get(trial.id, Need()), []).append(trial)
    return {need: trials for need, trials in groups.items() if trials}


def group_by_model(
    trials: Sequence[Trial], outcomes: Sequence[Outcome], models: Sequence[str]
) -> Mapping[str, list[Trial]]:
    """Return trials by the model that they go to; `models` are the types of GPUs, by SLURM."""
    ordered = sorted(models)
    begun: dict[_Block, str] = {}
    for outcome in outcomes:
        device = str(outcome.job.get("device", "")).lower()
        model = next((one for one in ordered if one.lower() in device), None)
        if model is not None:
            begun.setdefault(_block(outcome.trial), model)
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        block = _block(trial)
        chosen = ordered[zlib.crc32(repr(block).encode()) % len(ordered)]
        groups.setdefault(begun.get(block, chosen), []).append(trial)
    return groups


def _block(trial: Trial) -> _Block:
    return trial.phase, trial.workload.key, trial.block
