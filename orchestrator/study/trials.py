"""From a sweep to its trials: a pure function that opens no data and starts nothing.

The plan has the trials of all looks and phases from the start, except for settings that tuning
has still to find; which of them are sent now is `orchestrator.study.stage`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jobs.contract.asha import Rungs
from jobs.contract.trial import Candidate, Phase, Trial, block_seeds
from jobs.contract.workloads.workload import Workload
from orchestrator.study.tuning_rounds import NO_TUNING, Tuning, place_of
from orchestrator.sweep.search_space import SearchRun, TunedCandidate, tuned_for
from orchestrator.sweep.sweep import Sweep


def plan_trials(sweep: Sweep, tuning: Tuning = NO_TUNING) -> tuple[Trial, ...]:
    """Return every trial of a sweep, block by block: tuning, then pilots, then the comparison."""
    trials = _plan_tuning(sweep, tuning)
    if sweep.keys.pilot is not None:
        trials += _plan_phase(sweep, tuning, "pilot")
    return tuple(trials + _plan_phase(sweep, tuning, "compare"))


def list_runs(sweep: Sweep) -> Mapping[tuple[str, int], SearchRun]:
    """Return the searches of a sweep by the name of a workload and their place, from 0.

    The settings of the one at place i are compared on the blocks b with b mod `searches` = i.
    """
    if sweep.keys.tune is None:
        return {}
    ranks, first = sweep.keys.tune.ranks, sweep.keys.tune.first_search
    runs = {(run.of, run.number - first): run for run in sweep.search_runs}
    return {
        (workload.name, place): runs[tuned_for(workload, ranks), place]
        for workload in sweep.workloads
        for place in range(sweep.searches)
    }


def count_pilots(sweep: Sweep) -> int:
    """Return how many pilots a sweep asks for, with those whose settings are not chosen yet."""
    if sweep.keys.pilot is None:
        return 0
    return sweep.keys.pilot.seeds * len(_piloted(sweep)) * len(_baselines(sweep))


def _piloted(sweep: Sweep) -> list[Workload]:
    return [one for one in sweep.workloads if one.metric_spec.target is None]


def _baselines(sweep: Sweep) -> list[Candidate]:
    names = {baseline for _, baseline in sweep.questions}
    return [one for one in sweep.candidates if one.name in names]


def _plan_tuning(sweep: Sweep, tuning: Tuning) -> list[Trial]:
    if sweep.keys.tune is None:
        return []
    tuned = [one for one in sweep.candidates if isinstance(one, TunedCandidate)]
    named, seeds = {one.name: one for one in tuned}, sweep.keys.tune.seeds
    trials: list[Trial] = []
    settings = {
        (run.of, run.number): _make_distinct(
            [setting for one in tuned for setting in tuning.settings(one, run)]
        )
        for run in sweep.search_runs
    }
    for number in dict.fromkeys(run.number for run in sweep.search_runs):
        runs = [run for run in sweep.search_runs if run.number == number]
        for block in range(number * seeds, (number + 1) * seeds):
            for run in runs:
                tried = settings[run.of, number]
                rungs = {name: one.rungs_in(run) for name, one in named.items()}
                trials += _plan_block(
                    sweep, "tune", run.workload, block, tried, rungs, run.compared
                )
    return trials


def _plan_phase(sweep: Sweep, tuning: Tuning, phase: Phase) -> list[Trial]:
    """Return the trials of pilots or of the comparison, as far as their settings are chosen."""
    candidates, workloads = sweep.candidates, sweep.workloads
    seeds, places = sweep.keys.seeds, range(sweep.searches)
    blocks: Sequence[tuple[int, int]] = [(block, block % len(places)) for block in seeds.blocks]
    if phase == "pilot" and sweep.keys.pilot is not None:
        candidates, workloads = tuple(_baselines(sweep)), tuple(_piloted(sweep))
        # None waits for a search that a look may spare.
        first = [place for _, place in blocks][: seeds.looks[0]] if seeds.looks else places
        blocks = [(block, first[block % len(first)]) for block in range(sweep.keys.pilot.seeds)]
    runs = list_runs(sweep)
    chosen = {
        (workload.name, place): _make_distinct(
            _choose_settings(sweep, tuning, runs.get((workload.name, place)), candidates)
        )
        for workload in workloads
        for place in places
    }
    return [
        trial
        for block, place in blocks
        for workload in workloads
        for trial in _plan_block(sweep, phase, workload, block, chosen[workload.name, place])
    ]


def _choose_settings(
    sweep: Sweep, tuning: Tuning, run: SearchRun | None, declared: Iterable[Candidate]
) -> list[Candidate]:
    """Return the candidates with the settings that a search has chosen, if it has by now."""
    candidates = []
    for one in declared:
        if not isinstance(one, TunedCandidate):
            candidates.append(one)
        elif run is not None and (record := tuning.chosen.get(place_of(run, one))) is not None:
            label = run.number if sweep.searches > 1 else None
            candidates.append(one.with_values(record["values"], search_number=label))
    return candidates


def _plan_block(
    sweep: Sweep,
    phase: Phase,
    workload: Workload,
    block: int,
    candidates: Sequence[Candidate],
    rungs: Mapping[str, Rungs | None] | None = None,
    seeded: Workload | None = None,
) -> list[Trial]:
    """Return the trials of a block on a workload; `rungs` are by the name that is declared.

    Their seeds are those of the workload `seeded`, if that is another one.
    They are in the order of their ids, which is as good as random: no candidate always meets the
    machine in the same state.
    """
    seeds = {
        noise_seed: block_seeds(sweep.keys.root_seed, phase, seeded or workload, block, noise_seed)
        for noise_seed in {one.noise_seed for one in candidates}
    }
    trials = [
        Trial(
            workload=workload,
            candidate=candidate,
            phase=phase,
            block=block,
            seeds=seeds[candidate.noise_seed],
            world_size=workload.ranks,
            threads=sweep.keys.resources.cpus_per_task,
            precision=workload.precision,
            rungs=(rungs or {}).get(candidate.declared),
        )
        for candidate in candidates
    ]
    return sorted(trials, key=lambda trial: trial.id)


def _make_distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Make replicas of candidates that tuning has made equal: each has trials of its own."""
    distinct: dict[str, Candidate] = {}
    for one in candidates:
        while one.key in distinct:
            one = replace(one, replica=one.replica + 1)
        distinct[one.key] = one
    return list(distinct.values())
