"""From a sweep to its trials: a pure function that opens no data and starts nothing."""

import itertools

from jobs.trial import Phase, Trial, block_seeds
from orchestrator.sweep import Sweep


def plan_trials(sweep: Sweep, phase: Phase = "compare") -> tuple[Trial, ...]:
    """Return every trial of a sweep, block by block.

    Within a block the order is that of the ids, which is as good as random: no candidate always
    meets the machine in the same state.
    """
    trials: list[Trial] = []
    for block, workload in itertools.product(sweep.blocks, sweep.workloads):
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
                for candidate in sweep.candidates
            ),
            key=lambda trial: trial.id,
        )
    return tuple(trials)
