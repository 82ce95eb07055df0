"""From a sweep to its trials: a pure function that opens no data and starts nothing.

The plan has the trials of all looks and phases from the start, except for settings that tuning
has still to find; which of them are sent now is `orchestrator.study.stage`'s.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from jobs.contract.asha import Rungs
from jobs.contract.trial import Candidate, Phase, Trial, Workload, block_seeds
from orchestrator.study.tuning_rounds import NO_TUNING, Tuning, tuning_key
from orchestrator.sweep.search_space import TunedCandidate
from orchestrator.sweep.sweep import Sweep


def plan_trials(sweep: Sweep, tuning: Tuning = NO_TUNING) -> tuple[Trial, ...]:
    """Return every trial of a sweep, block by block: tuning, then pilots, then the comparison."""
    trials = _plan_tuning(sweep, tuning)
    if sweep.keys.pilot is not None:
        without_target = [one for one in sweep.workloads if one.metric_spec.target is None]
        names = {baseline for _, baseline in sweep.questions}
        baselines = [one for one in sweep.candidates if one.name in names]
        trials += _plan_phase(
            sweep,
            "pilot",
            range(sweep.keys.pilot.seeds),
            without_target,
            lambda on: _choose_settings(tuning, on, baselines),
        )
    return trials + _plan_phase(
        sweep,
        "compare",
        sweep.keys.seeds.blocks,
        sweep.workloads,
        lambda on: _choose_settings(tuning, on, sweep.candidates),
    )


def _plan_tuning(sweep: Sweep, tuning: Tuning) -> tuple[Trial, ...]:
    if sweep.keys.tune is None:
        return ()
    tuned = [one for one in sweep.candidates if isinstance(one, TunedCandidate)]
    search, named = tuned[0].search, {one.name: one for one in tuned}
    # Workloads that differ in ranks alone are tuned once if tuning has ranks of its own.
    on = {
        tuning_key(one, search): replace(one, ranks=sweep.keys.tune.ranks or one.ranks)
        for one in reversed(sweep.workloads)
    }
    return _plan_phase(
        sweep,
        "tune",
        range(sweep.keys.tune.seeds),
        list(reversed(on.values())),
        lambda on: [setting for one in tuned for setting in tuning.settings(one, on)],
        lambda on, setting: named[setting.declared].rungs_on(on),
    )


def _choose_settings(
    tuning: Tuning, workload: Workload, declared: Iterable[Candidate]
) -> list[Candidate]:
    """Return the candidates with the settings they have on a workload, if these are chosen yet."""
    candidates = (
        tuning.winner(workload, one) if isinstance(one, TunedCandidate) else one
        for one in declared
    )
    return [one for one in candidates if one is not None]


def _plan_phase(
    sweep: Sweep,
    phase: Phase,
    blocks: Sequence[int],
    workloads: Sequence[Workload],
    candidates: Callable[[Workload], Sequence[Candidate]],
    rungs: Callable[[Workload, Candidate], Rungs | None] = lambda _, __: None,
) -> tuple[Trial, ...]:
    """Return the trials of a phase.

    Within a block they are in the order of their ids, which is as good as random: no candidate
    always meets the machine in the same state.
    """
    trials: list[Trial] = []
    chosen = {workload.name: _make_distinct(candidates(workload)) for workload in workloads}
    for block, workload in itertools.product(blocks, workloads):
        trials += sorted(
            (
                Trial(
                    workload=workload,
                    candidate=candidate,
                    phase=phase,
                    block=block,
                    seeds=block_seeds(
                        sweep.keys.root_seed, phase, workload, block, candidate.noise_seed
                    ),
                    world_size=workload.ranks,
                    threads=sweep.keys.resources.cpus_per_task,
                    precision=workload.precision,
                    rungs=rungs(workload, candidate),
                )
                for candidate in chosen[workload.name]
            ),
            key=lambda trial: trial.id,
        )
    return tuple(trials)


def _make_distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Make replicas of candidates that tuning has made equal: each has trials of its own."""
    distinct: dict[str, Candidate] = {}
    for one in candidates:
        while one.key in distinct:
            one = replace(one, replica=one.replica + 1)
        distinct[one.key] = one
    return list(distinct.values())
