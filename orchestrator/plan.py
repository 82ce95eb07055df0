"""From a sweep to its trials: a pure function that opens no data and starts nothing.

Trials of all looks and of all phases are there from the start; what is sent when is `stage`'s.
"""

import itertools
from collections.abc import Sequence

from jobs.trial import Candidate, Phase, Trial, Workload, block_seeds
from orchestrator.sweep import Sweep


def plan_trials(sweep: Sweep) -> tuple[Trial, ...]:
    """Return every trial of a sweep, block by block; pilots come before the comparison."""
    pilots: tuple[Trial, ...] = ()
    if sweep.pilot is not None:
        aimless = [one for one in sweep.workloads if one.read_as.target is None]
        baselines = {baseline for _, baseline in sweep.questions}
        them = [one for one in sweep.candidates if one.name in baselines]
        pilots = _phase(sweep, "pilot", range(sweep.pilot.seeds), aimless, them)
    return pilots + _phase(sweep, "compare", sweep.blocks, sweep.workloads, sweep.candidates)


def _phase(
    sweep: Sweep,
    phase: Phase,
    blocks: Sequence[int],
    workloads: Sequence[Workload],
    candidates: Sequence[Candidate],
) -> tuple[Trial, ...]:
    """Return the trials of a phase.

    Within a block the order is that of the ids, which is as good as random: no candidate always
    meets the machine in the same state.
    """
    trials: list[Trial] = []
    for block, workload in itertools.product(blocks, workloads):
        trials += sorted(
            (
                Trial(
                    workload=workload,
                    candidate=candidate,
                    phase=phase,
                    block=block,
                    seeds=block_seeds(
                        sweep.root_seed, phase, workload, block, candidate.noise_seed
                    ),
                    world_size=workload.ranks,
                    threads=sweep.threads,
                    precision=workload.precision,
                )
                for candidate in candidates
            ),
            key=lambda trial: trial.id,
        )
    return tuple(trials)
