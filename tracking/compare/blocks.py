"""Blocks: the results of a study in the order of its plan, paired, with what is wrong with them.

Leaves out blocks whose pairing is broken, and names whatever is left out. Estimates nothing.

What must hold of the trials of a block, and of two blocks, before their results are compared.

A difference is one of candidates only if everything else is shared, and blocks are repetitions
only if their seeds were applied. Looks at outcomes; estimates nothing.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jobs.contract.trial import Workload, canonical_json
from tracking.compare.analysis import Endpoint
from tracking.compare.endpoints import (
    ComparisonError,
    EndpointValues,
    UnmeasuredError,
    score,
    usual_spans,
)
from tracking.outcomes import Outcome

# What the trials of a block must share, or their difference is not one of candidates.
_SHARED = ("data", "split", "init", "order")

# A curve of so many different values does not come twice by chance, not even a curve of shares of
# a hundred images; a shorter one might.
_TELLING_VALUES = 6


def mismatch(measured: Mapping[str, Outcome]) -> str | None:
    """Say in what the trials of a block, by candidate, differ that they must share."""
    said = None
    for name in _SHARED:
        values = {
            candidate: found
            for candidate, outcome in measured.items()
            if (found := digest(outcome, name)) is not None
        }
        if len(set(values.values())) > 1:
            said = f"refused: the trials of this block differ in {name} ({listed(values)})"
    return said


def refuse_twins(outcomes: Iterable[Outcome]) -> None:
    """Raise ComparisonError where two blocks of a workload are one, their seeds not applied.

    That is told by the digests of initial weights and order of data; where a training has none,
    as the user's own, by curves that are alike in every value.
    """
    starts: dict[tuple[str, str, str], int] = {}
    traces: dict[tuple[str, str, bytes], int] = {}
    for one in outcomes:
        workload, block = one.trial.workload.name, one.trial.block
        init, order = digest(one, "init"), digest(one, "order")
        if init is not None and order is not None:
            twin = starts.setdefault((workload, init, order), block)
            if twin != block:
                raise ComparisonError(
                    f"{workload}, blocks {twin} and {block} have the same initial weights and "
                    "the same order of data: their seeds were not applied, so they are one "
                    "block"
                )
            continue
        trace = _trace(one)
        if trace is not None:
            candidate = one.trial.candidate.name
            twin = traces.setdefault((workload, candidate, trace), block)
            if twin != block:
                raise ComparisonError(
                    f"{candidate} on {workload}, blocks {twin} and {block} have the same curve, "
                    "value by value: the seed was not applied, so they are one block; let the "
                    "training take its seed (`context.seed`, or {seed} in a command)"
                )


def digest(outcome: Outcome, name: str) -> str | None:
    found: str | None = (outcome.started.get("digests") or {}).get(name)
    return found


def listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _trace(outcome: Outcome) -> bytes | None:
    """Return a digest of all that a trial measured, None where that is too little to tell."""
    if outcome.state != "completed":
        return None
    values = {value for p in outcome.curve for value in p.metrics.values() if math.isfinite(value)}
    if len(values) < _TELLING_VALUES:
        return None
    said = repr([(p.step, sorted(p.metrics.items())) for p in outcome.curve])
    return hashlib.sha256(said.encode()).digest()


Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]

NO_AUC = "no AUC"  # the flag of blocks whose curves are missing or cover unlike steps


@dataclass(frozen=True)
class Incomplete:
    """A block in which some trial has no result; `reasons` are (candidate, why)."""

    workload: str
    block: int
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BlockFlag:
    """Something about a block that a reader must know; the block is used all the same."""

    workload: str
    block: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Pairs:
    """Two candidates on the blocks of one workload where both have a result, in block order.

    The numbers are those of one endpoint, negated where lower is better: a greater one is better.
    `diverged` says of every block whether (candidate, baseline) did. `unmatched` blocks are not
    among them: their results are there, but not comparable by this endpoint.
    """

    blocks: tuple[int, ...]
    candidate: tuple[float, ...]
    baseline: tuple[float, ...]
    diverged: tuple[tuple[bool, bool], ...]
    unmatched: tuple[int, ...]

    @property
    def collapses(self) -> tuple[int, int]:
        """Count the diverged trials of (candidate, baseline)."""
        return sum(one for one, _ in self.diverged), sum(other for _, other in self.diverged)

    def clean(self) -> tuple[list[float], list[float]]:
        """Return both arms, (n_blocks,), without the blocks in which one diverged."""
        first, second = (
            [value for value, arms in zip(arm, self.diverged, strict=True) if not any(arms)]
            for arm in (self.candidate, self.baseline)
        )
        return first, second


class Blocks:
    """The comparison trials of one study by (workload, candidate, block)."""

    def __init__(
        self, outcomes: Iterable[Outcome], spared: Collection[tuple[str, int]] = ()
    ) -> None:
        """Take the outcomes of phase "compare"; raises ComparisonError where they cannot pair.

        `spared` are the (candidate, block) that are not missing: they were never to run.
        """
        self._spared = spared
        self.outcomes = tuple(one for one in outcomes if one.trial.phase == "compare")
        self._cells: dict[tuple[str, str, int], Outcome] = {}
        self.workloads: dict[str, Workload] = {}
        contents: dict[tuple[str, str], str] = {}
        for outcome in self.outcomes:
            trial = outcome.trial
            self.workloads.setdefault(trial.workload.name, trial.workload)
            # Tuned, a candidate has settings of its own on each workload.
            on = f"candidate on {trial.workload.name}"
            for kind, label in (("workload", trial.workload), (on, trial.candidate)):
                if contents.setdefault((kind, label.name), label.key) != label.key:
                    raise ComparisonError(
                        f"{kind.split()[0]} {label.name!r} stands for two different contents: "
                        "give one of them another name, or compare only the trials of one plan"
                    )
            cell = (trial.workload.name, trial.candidate.name, trial.block)
            other = self._cells.setdefault(cell, outcome)
            if other is not outcome:
                raise ComparisonError(
                    f"{cell[1]} on {cell[0]}, block {cell[2]} has two trials, {other.trial.id} "
                    f"and {trial.id}: compare only the trials of one plan"
                )
        self.candidates = tuple(dict.fromkeys(one.trial.candidate.name for one in self.outcomes))
        self._scores: dict[tuple[str, str, int], EndpointValues] = {}
        self._unmeasured: dict[tuple[str, str, int], str] = {}
        self._broken: set[tuple[str, int]] = set()
        spans = usual_spans(self.outcomes)
        for cell, outcome in self._cells.items():
            if outcome.has_result:
                try:
                    self._scores[cell] = score(outcome, spans)
                except UnmeasuredError as error:
                    self._unmeasured[cell] = str(error)
        self._refuse_broken_blocks()
        refuse_twins(one for at in self._each() for one in self._measured(*at).values())

    def numbers(self, workload: str) -> list[int]:
        """Return the block numbers of a workload, rising."""
        return sorted({block for name, _, block in self._cells if name == workload})

    def planned(self, workload: str, candidate: str) -> int:
        """Count the trials of a candidate on a workload, whatever became of them."""
        return sum(cell[:2] == (workload, candidate) for cell in self._cells)

    def steps(self, workload: str) -> int | None:
        """Return the planned steps of a workload's trials, None if none of them began."""
        begun = [cell for cell in self._cells.items() if cell[0][0] == workload]
        return next((one.started["steps"] for _, one in begun if one.started.get("steps")), None)

    def results(self, workload: str, candidate: str) -> Iterator[tuple[Outcome, EndpointValues]]:
        """Yield what a candidate achieved on a workload, by rising block."""
        for block in self.numbers(workload):
            cell = (workload, candidate, block)
            if cell in self._scores:
                yield self._cells[cell], self._scores[cell]

    def pairs(
        self,
        workload: str,
        candidate: str,
        baseline: str,
        endpoint: Endpoint,
        below: int | None = None,
    ) -> Pairs:
        """Pair two candidates on a workload by one endpoint, on all blocks or those `below`."""
        sign = -1.0 if self.workloads[workload].metric_spec.goal == "min" else 1.0
        kept: list[tuple[int, float, float, tuple[bool, bool]]] = []
        unmatched = []
        for block in self.numbers(workload):
            if below is not None and block >= below:
                break
            cells = [(workload, arm, block) for arm in (candidate, baseline)]
            if not all(cell in self._scores for cell in cells):
                continue
            first, second = (self._scores[cell] for cell in cells)
            values = first.of(endpoint), second.of(endpoint)
            alike = first.span == second.span or endpoint is Endpoint.FINAL
            if values[0] is None or values[1] is None or not alike:
                unmatched.append(block)
                continue
            diverged = [self._cells[cell].state == "diverged" for cell in cells]
            kept.append((block, sign * values[0], sign * values[1], (diverged[0], diverged[1])))
        return Pairs(
            blocks=tuple(block for block, *_ in kept),
            candidate=tuple(value for _, value, _, _ in kept),
            baseline=tuple(value for _, _, value, _ in kept),
            diverged=tuple(diverged for *_, diverged in kept),
            unmatched=tuple(unmatched),
        )

    def shared(self, workload: str, endpoint: Endpoint) -> Table:
        """Return the results, (n_blocks, n_candidates), of blocks where every candidate has one.

        Turned around where lower is better.
        """
        sign = -1.0 if self.workloads[workload].metric_spec.goal == "min" else 1.0
        rows = []
        for block in self.numbers(workload):
            scores = [self._scores.get((workload, name, block)) for name in self.candidates]
            values = [None if one is None else one.of(endpoint) for one in scores]
            spans = {one.span for one in scores if one is not None}
            alike = len(spans) == 1 or endpoint is Endpoint.FINAL
            if alike and None not in values:
                rows.append(values)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.candidates))
        return sign * table

    def ended(self, workload: str, candidate: str) -> dict[int, Outcome]:
        """Return the trials that have an end, by rising block; blocks broken as pairs have none.

        Also where the value of a diverged trial is not known, which makes a block incomplete.
        """
        return {
            block: one
            for block in self.numbers(workload)
            if (one := self._cells.get((workload, candidate, block))) is not None
            and one.has_result
            and (workload, block) not in self._broken
        }

    @cached_property
    def incomplete(self) -> tuple[Incomplete, ...]:
        found = []
        for workload, block in self._each():
            reasons = [
                (candidate, self._reason((workload, candidate, block)))
                for candidate in self.candidates
                if (workload, candidate, block) not in self._scores
                and (candidate, block) not in self._spared
            ]
            if reasons:
                found.append(Incomplete(workload, block, tuple(reasons)))
        return tuple(found)

    @cached_property
    def flags(self) -> tuple[BlockFlag, ...]:
        """Blocks that mix code, devices or data, whose trials disagree, or without an AUC."""
        found = []
        usual: dict[str, str | None] = {}
        for workload, block in self._each():
            measured = self._measured(workload, block)
            for data in {digest(outcome, "data") for outcome in measured.values()}:
                if usual.setdefault(workload, data) != data:
                    found.append(BlockFlag(workload, block, "data", f"its digest is {data}"))
            if _mixes_code([one.job for one in measured.values()]):
                codes = {name: one.job.get("code") for name, one in measured.items()}
                found.append(BlockFlag(workload, block, "code", listed(codes)))
            devices = {name: one.job.get("device") for name, one in measured.items()}
            if len({canonical_json(device) for device in devices.values()}) > 1:
                found.append(BlockFlag(workload, block, "device", listed(devices)))
            unstable = [name for name, one in measured.items() if one.nondeterministic]
            if unstable:
                detail = f"{', '.join(unstable)}: a step that was run twice gave two values"
                found.append(BlockFlag(workload, block, "nondeterministic", detail))
            found += self._without_auc(workload, block)
        return tuple(found)

    def _without_auc(self, workload: str, block: int) -> Iterator[BlockFlag]:
        cells = {name: (workload, name, block) for name in self._measured(workload, block)}
        scores = {name: self._scores[cell] for name, cell in cells.items()}
        missing = {name: one.no_auc for name, one in scores.items() if one.no_auc is not None}
        spans = {name: one.span for name, one in scores.items() if one.span is not None}
        if len(set(spans.values())) > 1:
            missing |= {name: "steps {} to {}".format(*span) for name, span in spans.items()}
        if missing:
            yield BlockFlag(workload, block, NO_AUC, listed(missing))

    def flags_of(self, workload: str, blocks: Sequence[int]) -> tuple[BlockFlag, ...]:
        """Return the flags of some blocks of a workload."""
        return tuple(
            flag for flag in self.flags if flag.workload == workload and flag.block in blocks
        )

    def _each(self) -> Iterator[tuple[str, int]]:
        for workload in self.workloads:
            for block in self.numbers(workload):
                yield workload, block

    def _measured(self, workload: str, block: int) -> Mapping[str, Outcome]:
        cells = {name: (workload, name, block) for name in self.candidates}
        return {name: self._cells[at] for name, at in cells.items() if at in self._scores}

    def _reason(self, cell: tuple[str, str, int]) -> str:
        outcome = self._cells.get(cell)
        if outcome is None:
            return "no such trial"
        if cell in self._unmeasured:
            return self._unmeasured[cell]
        return f"{outcome.state} ({outcome.error})" if outcome.error else outcome.state

    def _refuse_broken_blocks(self) -> None:
        """Leave out, by name, the blocks whose trials do not share what makes them one."""
        for workload, block in self._each():
            measured = self._measured(workload, block)
            why = mismatch(measured)
            if why is None:
                continue
            self._broken.add((workload, block))
            for candidate in measured:
                cell = (workload, candidate, block)
                self._unmeasured[cell] = why
                self._scores.pop(cell, None)


def _mixes_code(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether jobs ran different code; one without user code is no other version of it."""
    ours = {job.get("thermolion_code", job.get("code")) for job in jobs}
    with_users = {job["code"] for job in jobs if job.get("code") not in ours and "code" in job}
    return len(ours) > 1 or len(with_users) > 1
