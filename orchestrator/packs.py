"""From trials to packs, and the files that carry them to their jobs."""

import itertools
import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from jobs.layout import Layout
from jobs.pack import Pack
from jobs.trial import Trial
from jobs.whole_file import write_whole
from orchestrator.backends.base import read_record

# Enough packs a lane that one slow pack leaves little idle at the end, few enough that starting
# a process (seconds of import) stays small beside its work.
_PACKS_PER_LANE = 4


def make_packs(
    trials: Sequence[Trial],
    lanes: int,
    suspects: Container[str] = (),
    code: Mapping[str, Path | None] | None = None,
) -> list[tuple[Trial, ...]]:
    """Group trials into packs for `lanes` processes: whole blocks of one workload together.

    A block is broken up where there are fewer blocks than lanes, and where its trials run other
    `code` (folders by trial id): a process imports one version of it. The trials of a pack have
    equally many ranks, which are started once for all of them. `suspects` are ids of
    trials whose process died under them: each goes alone, after all others, or it would take its
    neighbours along again.
    """
    code = code or {}
    alone = [(trial,) for trial in trials if trial.id in suspects]
    groups: dict[tuple[Path | None, int], list[Trial]] = {}
    for trial in trials:
        if trial.id not in suspects:
            groups.setdefault((code.get(trial.id), trial.world_size), []).append(trial)
    packs = [
        pack
        for (_, ranks), group in groups.items()
        for pack in _by_block(group, max(1, lanes // ranks))
    ]
    return packs + alone


def _by_block(trials: Sequence[Trial], lanes: int) -> list[tuple[Trial, ...]]:
    blocks: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        blocks.setdefault((trial.workload.key, trial.block), []).append(trial)
    workloads: dict[str, list[list[Trial]]] = {}
    for (workload, _), block in blocks.items():
        workloads.setdefault(workload, []).append(block)
    if len(blocks) < lanes:
        parts = -(-lanes // max(len(blocks), 1))
        return [part for block in blocks.values() for part in _share(block, parts)]
    per_pack = max(1, len(blocks) // (_PACKS_PER_LANE * lanes))
    packs = [
        tuple(itertools.chain.from_iterable(group[start : start + per_pack]))
        for group in workloads.values()
        for start in range(0, len(group), per_pack)
    ]
    order = {trial.id: position for position, trial in enumerate(trials)}
    return sorted(packs, key=lambda pack: order[pack[0].id])


def _share(block: Sequence[Trial], parts: int) -> list[tuple[Trial, ...]]:
    return [tuple(block[part::parts]) for part in range(min(parts, len(block)))]


def write_packs(packs: Sequence[Pack]) -> None:
    """Write one file a pack."""
    for pack in packs:
        path = pack.layout.pack(pack.submission, pack.number)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(pack.to_json()))


def read_pack(layout: Layout, submission: str, number: int) -> Pack:
    """Read back what a job carries."""
    return read_record(layout.pack(submission, number), Pack.from_json)
