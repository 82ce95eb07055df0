"""Blocks: the results of a study in the order of its plan, paired, with their faults by name.

A difference is one of candidates only if everything else is shared, and blocks are repetitions
only if their seeds were applied: blocks whose pairing is broken are left out. Estimates nothing.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from jobs.contract.failures import shorten_error
from jobs.contract.workloads.workload import Workload
from tracking.compare.endpoint_values import (
    EndpointValue,
    NoValue,
    TrialValues,
    endpoint_spans,
    measure_endpoint,
)
from tracking.compare.endpoints import (
    ComparisonError,
    EndpointValues,
    UnmeasuredError,
    curve_spans,
    score_trial,
)
from tracking.compare.pairing_faults import (
    digest_of,
    find_mismatch,
    find_mixtures,
    list_by_name,
    refuse_twins,
)
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.questions.endpoint import Endpoint
from tracking.questions.units import BLOCKS, SeedGroups, Units

NO_AUC = "no AUC"  # the flag of blocks whose curves are missing or cover unlike steps
UNLIKE_MACHINES = "unlike machines"  # of answers in seconds, from which such blocks are left out

# What machines must have in common for seconds to be compared between them.
_OF_A_MACHINE = ("device", "device_memory_mb", "packages")

_Cell = tuple[str, str, int]  # workload, candidate, block


@dataclass(frozen=True)
class Incomplete:
    """A block in which some trial has no result; `reasons` are (candidate, why)."""

    workload: str
    block: int
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BlockFlag:
    """A property of a block that a reader must know; the block is used all the same."""

    workload: str
    block: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Pair:
    """The results of two candidates on one block by one endpoint; greater is better.

    `diverged` says for each of (candidate, baseline) if its trial diverged, `reached` if it has
    reached a target that it is timed to.
    """

    block: int
    candidate: float
    baseline: float
    diverged: tuple[bool, bool]
    reached: tuple[bool, bool] = (True, True)

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class PairedResults:
    """All pairs of two candidates on one workload by one endpoint, by rising block.

    `unmatched` are the blocks in which both have a result, but not by this endpoint over the same
    steps; `lost` are, for each of (candidate, baseline), those in which its trial has no result
    for a reason that training can cause. `unlike` are those that were trained on unlike machines,
    if the endpoint is in seconds.
    """

    pairs: tuple[Pair, ...]
    unmatched: tuple[int, ...]
    lost: tuple[tuple[int, ...], tuple[int, ...]]
    unlike: tuple[int, ...] = ()


class Blocks:
    """The comparison trials of one study by (workload, candidate, block)."""

    def __init__(
        self,
        outcomes: Iterable[Outcome],
        skipped: Collection[tuple[str, int]] = (),
        units: Units = BLOCKS,
        lost: Collection[str] = (),
        is_paired: bool = True,
    ) -> None:
        """Take the outcomes of phase "compare"; raises ComparisonError if they cannot pair.

        `skipped` are the (candidate, block) that are not missing: they were never to run. In
        `units` of a search a tuned candidate has settings of its own. `lost` are the ids of trials
        that will never have a result for a reason that training can cause. Unless it `is_paired`,
        no candidate lacks a trial that another has.
        """
        self.is_paired = is_paired
        self._skipped = skipped
        self.units = units
        self._lost = lost
        self.outcomes = tuple(one for one in outcomes if one.trial.phase == "compare")
        self.workloads: dict[str, Workload] = {}
        self._cells: dict[_Cell, Outcome] = {}
        contents: dict[tuple[str, str], str] = {}
        for outcome in self.outcomes:
            trial = outcome.trial
            self.workloads.setdefault(trial.workload.name, trial.workload)
            # Tuned, a candidate has settings of its own on each workload, and in each search.
            on = f"candidate on {trial.workload.name}"
            if units.searches > 1 and trial.candidate.name in units.tuned:
                on += f" by search {trial.block % units.searches}"
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
        self._planned = Counter(cell[:2] for cell in self._cells)
        self._numbers = {
            name: sorted({block for on, _, block in self._cells if on == name})
            for name in self.workloads
        }
        self.candidates = tuple(dict.fromkeys(one.trial.candidate.name for one in self.outcomes))
        self._scores: dict[_Cell, EndpointValues] = {}
        self._unmeasured: dict[_Cell, str] = {}
        self._broken: set[tuple[str, int]] = set()
        self._values: dict[tuple[Endpoint, float], Mapping[_Cell, EndpointValue | NoValue]] = {}
        spans = curve_spans(self.outcomes)
        for cell, outcome in self._cells.items():
            if outcome.has_result:
                try:
                    self._scores[cell] = score_trial(outcome, spans)
                except UnmeasuredError as error:
                    self._unmeasured[cell] = str(error)
        self._leave_out_broken_blocks()
        refuse_twins(one for at in self._each() for one in self._measured(*at).values())

    @property
    def seeds(self) -> SeedGroups:
        """What the seeds of the workloads are of: their content, without ranks and precision."""
        return SeedGroups({name: one.key for name, one in self.workloads.items()})

    def numbers(self, workload: str) -> list[int]:
        """Return the block numbers of a workload, rising."""
        return self._numbers[workload]

    def count_planned(self, workload: str, candidate: str) -> int:
        """Count the trials of a candidate on a workload, whatever became of them."""
        return self._planned[workload, candidate]

    def planned_steps(self, workload: str) -> int | None:
        """Return the planned steps of a workload's trials, None if none of them began."""
        begun = (one.started.get("steps") for at, one in self._cells.items() if at[0] == workload)
        return next((steps for steps in begun if steps), None)

    def results(self, workload: str, candidate: str) -> list[tuple[Outcome, EndpointValues]]:
        """Return the trials and scores of a candidate on a workload, by rising block."""
        cells = ((workload, candidate, block) for block in self.numbers(workload))
        return [(self._cells[cell], self._scores[cell]) for cell in cells if cell in self._scores]

    def pairs(
        self, workload: str, question: Question, endpoint: Endpoint, below: float = math.inf
    ) -> PairedResults:
        """Pair two candidates on a workload by one endpoint, on the blocks `below` a number.

        A trial that ended without what the endpoint needs is lost like one that failed, unless
        its block is broken.
        """
        sign = self._sign(workload, endpoint)
        values = self._measure(endpoint, below)
        kept: list[Pair] = []
        unmatched, unlike = [], []
        lost: tuple[list[int], list[int]] = ([], [])
        for block in (number for number in self.numbers(workload) if number < below):
            cells = [(workload, name, block) for name in (question.candidate, question.baseline)]
            for cell, arm in zip(cells, lost, strict=True):
                if self._is_lost(cell, values.get(cell)):
                    arm.append(block)
            if not all(cell in values for cell in cells):
                continue
            if endpoint.clock == "seconds" and not self._are_alike(cells):
                unlike.append(block)
                continue
            both = _comparable([values[cell] for cell in cells])
            if both is None:
                unmatched.append(block)
                continue
            diverged = [self._cells[cell].state == "diverged" for cell in cells]
            kept.append(
                Pair(
                    block,
                    sign * both[0].value,
                    sign * both[1].value,
                    (diverged[0], diverged[1]),
                    (both[0].reached, both[1].reached),
                )
            )
        losses = tuple(lost[0]), tuple(lost[1])
        return PairedResults(tuple(kept), tuple(unmatched), losses, tuple(unlike))

    def values(self, workload: str, candidate: str, endpoint: Endpoint) -> list[float]:
        """Return an endpoint of a candidate's trials that have it: as scored, a time as -log."""
        found = self._measure(endpoint, math.inf)
        cells = ((workload, candidate, block) for block in self.numbers(workload))
        return [one.value for at in cells if isinstance(one := found.get(at), EndpointValue)]

    def trial_values(self, workload: str, candidate: str, endpoint: Endpoint) -> TrialValues:
        """Return the values of a candidate on a workload by one endpoint, whatever the pairs."""
        sign, found = self._sign(workload, endpoint), self._measure(endpoint, math.inf)
        cells = [(workload, candidate, block) for block in self.numbers(workload)]
        values = [
            (replace(value, value=sign * value.value), self._cells[cell].state == "diverged")
            for cell in cells
            if isinstance(value := found.get(cell), EndpointValue)
        ]
        return TrialValues(
            tuple(values),
            sum(isinstance(found.get(cell), NoValue) for cell in cells),
            any(self._is_lost(cell, found.get(cell)) for cell in cells),
        )

    def explain_no_value(self, endpoint: Endpoint) -> str | None:
        """Say why no trial at all has a value of an endpoint; None if one has."""
        values = self._measure(endpoint, math.inf).values()
        reasons = [one.why for one in values if isinstance(one, NoValue)]
        return reasons[0] if reasons and len(reasons) == len(values) else None

    def _measure(
        self, endpoint: Endpoint, below: float
    ) -> Mapping[_Cell, EndpointValue | NoValue]:
        """Return the values of an endpoint, of trials with a result in blocks `below` a number.

        A trial may have one without a score: diverged, it has a time. What all trials were seen
        for is found on those blocks alone: later ones may be longer.
        """
        endpoint = replace(endpoint, one_sided=False)
        known = self._values.get((endpoint, below))
        if known is not None:
            return known
        cells = {
            cell: one
            for cell, one in self._cells.items()
            if one.has_result and cell[2] < below and (cell[0], cell[2]) not in self._broken
        }
        if endpoint.is_standard:
            found = {at: self._standard_value(at, endpoint) for at in cells if at in self._scores}
        else:
            spans = endpoint_spans(cells.values(), endpoint)
            found = {cell: measure_endpoint(one, endpoint, spans) for cell, one in cells.items()}
        self._values[endpoint, below] = found
        return found

    def _standard_value(self, cell: _Cell, endpoint: Endpoint) -> EndpointValue | NoValue:
        score = self._scores[cell]
        value = score.of(endpoint)
        if value is None:
            return NoValue(score.no_auc or "", self._cells[cell].state == "diverged")
        return EndpointValue(value, score.span if endpoint.measure == "auc" else None)

    def _sign(self, workload: str, endpoint: Endpoint) -> float:
        if endpoint.measure == "time_to_target":
            return 1.0  # its values are negated times
        return Scale.of(endpoint.read(self.workloads[workload])).sign

    def _is_lost(self, cell: _Cell, value: EndpointValue | NoValue | None) -> bool:
        """Return True if a trial has no value for a reason that training can cause."""
        outcome = self._cells.get(cell)
        if outcome is None or (cell[0], cell[2]) in self._broken:
            return False
        if value is None:
            return outcome.has_result or outcome.trial.id in self._lost
        return isinstance(value, NoValue) and value.is_lost

    def _are_alike(self, cells: Sequence[_Cell]) -> bool:
        """Return True if trials are known to have run on machines that are alike."""
        jobs = [self._cells[cell].job for cell in cells]
        facts = {repr([job.get(fact) for fact in _OF_A_MACHINE]) for job in jobs}
        return len(facts) == 1 and bool(jobs[0].get("device"))

    def shared_results(self, workload: str, endpoint: Endpoint) -> NDArray[np.float64]:
        """Return the results of the blocks in which every candidate has one.

        The shape is (n_blocks, n_candidates); values are negated if lower is better.
        """
        table, found = [], self._measure(endpoint, math.inf)
        for block in self.numbers(workload):
            cells = [(workload, name, block) for name in self.candidates]
            if not all(cell in found for cell in cells):
                continue
            if endpoint.clock == "seconds" and not self._are_alike(cells):
                continue
            if (values := _comparable([found[cell] for cell in cells])) is not None:
                table.append([one.value for one in values])
        sign = self._sign(workload, endpoint)
        return sign * np.array(table, dtype=np.float64).reshape(len(table), len(self.candidates))

    def ended_trials(self, workload: str, candidate: str) -> dict[int, Outcome]:
        """Return the trials that have ended, by rising block, without those of broken blocks.

        A diverged trial is among them even if its value is not known.
        """
        return {
            block: one
            for block in self.numbers(workload)
            if (one := self._cells.get((workload, candidate, block))) is not None
            and one.has_result
            and (workload, block) not in self._broken
        }

    def lost_trials(self, workload: str, candidate: str) -> list[int]:
        """Return the blocks in which a trial failed for good by what training can cause."""
        return [
            block
            for block in self.numbers(workload)
            if (one := self._cells.get((workload, candidate, block))) is not None
            and not one.has_result
            and one.trial.id in self._lost
            and (workload, block) not in self._broken
        ]

    @cached_property
    def incomplete(self) -> tuple[Incomplete, ...]:
        """Blocks in which a trial that was not skipped has no result."""
        blocks = []
        for workload, block in self._each():
            reasons = [
                (candidate, self._reason((workload, candidate, block)))
                for candidate in self.candidates
                if (workload, candidate, block) not in self._scores
                and (candidate, block) not in self._skipped
                and (self.is_paired or (workload, candidate, block) in self._cells)
            ]
            if reasons:
                blocks.append(Incomplete(workload, block, tuple(reasons)))
        return tuple(blocks)

    @cached_property
    def flags(self) -> tuple[BlockFlag, ...]:
        """Blocks that mix code, devices or data, whose trials disagree or have learnt nothing."""
        return tuple(self._flags())

    def flag_kinds(self, workload: str) -> Sequence[tuple[int, str]]:
        """Return number and kind of the flags of a workload's blocks."""
        return self._kinds.get(workload, ())

    @cached_property
    def _kinds(self) -> Mapping[str, Sequence[tuple[int, str]]]:
        kinds: dict[str, list[tuple[int, str]]] = {}
        for flag in self.flags:
            kinds.setdefault(flag.workload, []).append((flag.block, flag.kind))
        return kinds

    def _flags(self) -> Iterator[BlockFlag]:
        usual: dict[str, str | None] = {}  # the data of the first block, by workload
        for workload, block in self._each():
            flag = partial(BlockFlag, workload, block)
            measured = self._measured(workload, block)
            for data in {digest_of(outcome, "data") for outcome in measured.values()}:
                if usual.setdefault(workload, data) != data:
                    yield flag("data", f"its digest is {data}")
            for kind, values in find_mixtures(measured):
                yield flag(kind, list_by_name(values))
            if unstable := [name for name, one in measured.items() if one.nondeterministic]:
                why = "a step that was run twice gave two values"
                yield flag("nondeterministic", f"{', '.join(unstable)}: {why}")
            if idle := {name: one.at_chance for name, one in measured.items() if one.at_chance}:
                yield flag("at chance", list_by_name(idle))
            scores = {name: self._scores[workload, name, block] for name in measured}
            missing = {name: one.no_auc for name, one in scores.items() if one.no_auc is not None}
            spans = {name: one.span for name, one in scores.items() if one.span is not None}
            if len(set(spans.values())) > 1:
                missing |= {name: "steps {} to {}".format(*span) for name, span in spans.items()}
            if missing:
                yield flag(NO_AUC, list_by_name(missing))

    def _each(self) -> Iterator[tuple[str, int]]:
        for workload in self.workloads:
            for block in self.numbers(workload):
                yield workload, block

    def _measured(self, workload: str, block: int) -> Mapping[str, Outcome]:
        cells = {name: (workload, name, block) for name in self.candidates}
        return {name: self._cells[at] for name, at in cells.items() if at in self._scores}

    def _reason(self, cell: _Cell) -> str:
        outcome = self._cells.get(cell)
        if outcome is None:
            return "no such trial"
        if cell in self._unmeasured:
            return self._unmeasured[cell]
        why = shorten_error(outcome.error or "")
        return f"{outcome.state} ({why})" if why else outcome.state

    def _leave_out_broken_blocks(self) -> None:
        """Leave out, with the reason, the blocks whose trials differ in what they must share."""
        for workload, block in self._each():
            measured = self._measured(workload, block)
            why = find_mismatch(measured)
            if why is None:
                continue
            self._broken.add((workload, block))
            for candidate in measured:
                cell = (workload, candidate, block)
                self._unmeasured[cell] = why
                self._scores.pop(cell, None)


def _comparable(found: Sequence[EndpointValue | NoValue]) -> list[EndpointValue] | None:
    """Return the values of one endpoint; None if any lacks it or covers other steps."""
    values = [one for one in found if isinstance(one, EndpointValue)]
    if len(values) < len(found) or len({one.span for one in values}) > 1:
        return None
    return values
