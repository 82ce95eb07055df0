"""From trials to packs: which trials share a process."""

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.trial import Trial

# Enough packs a lane that one slow pack leaves little idle at the end; few enough that the start
# of a process (seconds of import) is short compared to its work.
_PACKS_PER_LANE = 4


def make_packs(
    trials: Sequence[Trial],
    lanes: int,
    suspects: Container[str] = (),
    code: Mapping[str, Path | None] | None = None,
) -> list[tuple[Trial, ...]]:
    """Group trials into packs for `lanes` processes: whole blocks of one workload together.

    A block is broken up if there are fewer blocks than lanes, and if its trials run different
    `code` (folders by trial id): a process imports one version of it. The trials of a pack have
    equally many ranks, which are started once for all of them. `suspects` are ids of trials whose
    process died while they ran: each gets a pack of its own, after all others, so that it can end
    no other trial again.
    """
    packs = [
        pack
        for group in _group_alike(trials, suspects, code or {})
        for pack in _pack_by_block(group, max(1, lanes // group[0].world_size))
    ]
    return packs + [(trial,) for trial in trials if trial.id in suspects]


@dataclass(frozen=True)
class PackSizing:
    """How long trials take, and how much work a job is given, in seconds.

    `trial_s` has every trial, by id; None if that is not known. A job runs `lanes` trials at a
    time; it has `at_least_s` of work if there is as much, and `at_most_s` at most (None: any).
    """

    trial_s: Mapping[str, float | None]
    lanes: int
    at_least_s: float
    at_most_s: float | None


def make_sized_packs(
    trials: Sequence[Trial],
    sizing: PackSizing,
    suspects: Container[str] = (),
    code: Mapping[str, Path | None] | None = None,
) -> list[tuple[Trial, ...]]:
    """Group trials into packs by the time that they take: whole blocks, unless a trial is enough.

    `suspects` and `code` as in `make_packs`.
    """
    packs = []
    for group in _group_alike(trials, suspects, code or {}):
        packs += _pack_by_time(group, sizing)
    return packs + [(trial,) for trial in trials if trial.id in suspects]


def _pack_by_time(trials: Sequence[Trial], sizing: PackSizing) -> list[tuple[Trial, ...]]:
    packs: list[list[Trial]] = []
    filled_s = 0.0
    for part, seconds in _split(trials, sizing):
        over = sizing.at_most_s is not None and filled_s + seconds > sizing.at_most_s
        if not packs or over or filled_s >= sizing.at_least_s:
            packs.append([])
            filled_s = 0.0
        packs[-1] += part
        filled_s += seconds
    return [tuple(pack) for pack in packs]


def _split(trials: Sequence[Trial], sizing: PackSizing) -> Iterator[tuple[Sequence[Trial], float]]:
    """Yield the trials that stay together, with the wall seconds that they take in a job.

    That is a block; or, if single trials are work enough for a job or a block is too much for one,
    as many trials as the job has lanes. A trial of unknown length counts as enough.
    """
    for block in _group_blocks(trials).values():
        known = [sizing.trial_s[trial.id] for trial in block]
        longest = max(sizing.at_least_s if s is None else s for s in known)
        whole_s = longest * -(-len(block) // sizing.lanes)
        too_much = sizing.at_most_s is not None and whole_s > sizing.at_most_s
        if longest < sizing.at_least_s and not too_much:
            yield block, whole_s
        else:
            for start in range(0, len(block), sizing.lanes):
                yield block[start : start + sizing.lanes], longest


def _group_alike(
    trials: Sequence[Trial], suspects: Container[str], code: Mapping[str, Path | None]
) -> list[list[Trial]]:
    """Group trials that may share a process: of one version of the code and as many ranks."""
    groups: dict[tuple[Path | None, int], list[Trial]] = {}
    for trial in trials:
        if trial.id not in suspects:
            groups.setdefault((code.get(trial.id), trial.world_size), []).append(trial)
    return list(groups.values())


def _pack_by_block(trials: Sequence[Trial], lanes: int) -> list[tuple[Trial, ...]]:
    blocks = _group_blocks(trials)
    workloads: dict[str, list[list[Trial]]] = {}
    for (workload, _), block in blocks.items():
        workloads.setdefault(workload, []).append(block)
    if len(blocks) < lanes:
        parts = -(-lanes // max(len(blocks), 1))
        return [
            tuple(block[part::parts])
            for block in blocks.values()
            for part in range(min(parts, len(block)))
        ]
    per_pack = max(1, len(blocks) // (_PACKS_PER_LANE * lanes))
    packs = [
        tuple(itertools.chain.from_iterable(group[start : start + per_pack]))
        for group in workloads.values()
        for start in range(0, len(group), per_pack)
    ]
    order = {trial.id: position for position, trial in enumerate(trials)}
    return sorted(packs, key=lambda pack: order[pack[0].id])


def count_packs(blocks: Sequence[int], trials: int, lanes: int) -> int:
    """Return how many packs `make_packs` makes of so many blocks of each workload."""
    count = sum(blocks)
    if count < lanes:
        parts = -(-lanes // max(count, 1))
        return count * min(parts, max(1, trials // max(count, 1)))
    per_pack = max(1, count // (_PACKS_PER_LANE * lanes))
    return sum(-(-one // per_pack) for one in blocks)


def _group_blocks(trials: Sequence[Trial]) -> dict[tuple[str, int], list[Trial]]:
    blocks: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        blocks.setdefault((trial.workload.key, trial.block), []).append(trial)
    return blocks
