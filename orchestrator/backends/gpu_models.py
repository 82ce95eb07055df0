"""Trials by what their jobs ask for, and the model of GPU that a block is sent to.

With `blocks: {same: gpu}` all of a block have one model: that of its trials that have begun, else
one of those that the partition has, the same block always the same one.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.trial import Trial
from orchestrator.backends.base import Need, PlacementRequest
from slurm import limits
from slurm.site.facts import Facts
from slurm.site.site import Site
from tracking.outcomes import Outcome

_Block = tuple[str, str, int]


@dataclass(frozen=True)
class AlikeTrials:
    """Trials whose jobs ask for the same: time (minutes), memory, and what past failures need.

    `model` is that of their GPUs, None if any will do, or there is only one.
    """

    need: Need
    model: str | None
    time_min: int | None
    mem: str | None
    trials: Sequence[Trial]


def split_trials(
    request: PlacementRequest, site: Site, facts: Facts | None
) -> Iterator[AlikeTrials]:
    """Yield the trials of a request by what their jobs ask for."""
    keys = request.study.sweep.keys
    models: dict[str, None] = {}
    if keys.blocks.same == "gpu" and facts is not None and site.gpu_type is None:
        for partition in limits.find_partitions(facts, site):
            models |= dict.fromkeys(partition.gpu_types)
    for (need, time_min, mem), trials in _by_need(request).items():
        groups: Mapping[str | None, Sequence[Trial]] = {None: trials}
        if len(models) > 1 and keys.resources.gpus_per_node:
            groups = dict(sorted(group_by_model(trials, request.outcomes, list(models)).items()))
        for model, alike in groups.items():
            yield AlikeTrials(need, model, time_min, mem, alike)


def _by_need(
    request: PlacementRequest,
) -> Mapping[tuple[Need, int | None, str | None], list[Trial]]:
    """Group trials by what they are given; those that the sweep serves first."""
    given = request.study.sweep.keys.resources
    groups: dict[tuple[Need, int | None, str | None], list[Trial]] = {}
    groups[Need(), given.time_min, given.mem] = []
    for trial in request.trials:
        need = request.needs.get(trial.id, Need())
        own = given.of(trial.workload.name, trial.candidate.declared)
        groups.setdefault((need, *own), []).append(trial)
    return {key: trials for key, trials in groups.items() if trials}


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
