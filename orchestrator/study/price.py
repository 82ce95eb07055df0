"""What a study still costs, stage by stage: trials, wall clock with the lanes at hand, hours.

Also of stages whose trials are not planned yet, because tuning or a look has still to decide.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from jobs.contract.trial import Phase
from jobs.contract.workloads.workload import Workload
from orchestrator.study.estimate import Kind, TrialTimes, in_words
from orchestrator.study.packs import count_packs
from orchestrator.study.stage import Stage, Wanted
from orchestrator.study.tuning_rounds import Tuning
from orchestrator.sweep.search_space import SearchRun, TunedCandidate
from orchestrator.sweep.sweep import Sweep
from tracking.outcomes import Outcome

_START_S = 3.0  # of a process that trains, until its first trial begins: mostly imports
_NEXT_STAGE_S = 2.0  # from the end of the last trial of a stage until the next one is sent
_LONGEST_PAUSE_S = 120.0  # longer, and it was the user who paused
_MOST_NAMED = 3  # workloads in a line


@dataclass(frozen=True)
class Lanes:
    """What trials run on: `count` ranks at a time, and `concurrent` trials at most.

    `starts_s` is what a process takes until its first trial begins, and `between_s` what lies
    between two stages; 0 on a cluster, whose queue nobody can foresee. `unit` is what is paid for.
    `shared`: trials that share one GPU.
    """

    count: int
    concurrent: int | None = None
    starts_s: float = _START_S
    between_s: float = _NEXT_STAGE_S
    unit: str = "core"
    shared: int = 1


@dataclass(frozen=True)
class StagePrice:
    """What one stage still costs; `seconds` and `hours` are None if nothing is known of a trial.

    `at_most`: it may be less, for nobody knows yet if all of it will be needed, or if the data
    are as many as the guess takes them to be. `measured`: every kind of its trials has ended once.
    `unknown` are the workloads of which a trial has to end before the time is known.
    """

    name: str
    trials: int
    seconds: float | None
    hours: float | None
    at_most: bool
    measured: bool
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Price:
    """What a study still costs, by its `stages` that are not over; `unit` is that of the hours."""

    stages: tuple[StagePrice, ...]
    unit: str

    @property
    def whole(self) -> StagePrice:
        """The sum of all stages."""
        seconds = [one.seconds for one in self.stages]
        hours = [one.hours for one in self.stages]
        return StagePrice(
            "in all",
            sum(one.trials for one in self.stages),
            None if None in seconds else sum(value or 0.0 for value in seconds),
            None if None in hours else sum(value or 0.0 for value in hours),
            any(one.at_most for one in self.stages),
            all(one.measured for one in self.stages),
            tuple(dict.fromkeys(on for one in self.stages for on in one.unknown)),
        )


def measure_lanes(
    lanes: Lanes, outcomes: Sequence[Outcome], sent: Mapping[str, tuple[int, int]]
) -> Lanes:
    """Return lanes with the pauses of the study so far, as far as they are known.

    `sent` has the time (UTC in ms) and the number of lanes of every submission, by its id.
    """
    packs: dict[str, dict[str, tuple[int, int]]] = {}
    for one in outcomes:
        submission, pack = str(one.job.get("submission")), str(one.job.get("pack"))
        if submission in sent and one.has_result and one.started_ms and one.ended_ms:
            begin, end = packs.setdefault(submission, {}).get(pack, (one.started_ms, 0))
            here = min(begin, one.started_ms), max(end, one.ended_ms)
            packs[submission][pack] = here
    starts, pauses, before = [], [], None
    for submission, (sent_ms, count) in sorted(sent.items()):
        free = [sent_ms] * count
        for begin, end in sorted(packs.get(submission, {}).values()):
            starts.append(max(0, begin - heapq.heappop(free)) / 1000)
            heapq.heappush(free, end)
        if before is not None and 0 <= sent_ms - before <= 1000 * _LONGEST_PAUSE_S:
            pauses.append((sent_ms - before) / 1000)
        before = max((end for _, end in packs.get(submission, {}).values()), default=None)
    return replace(
        lanes,
        starts_s=median(starts) if starts and lanes.starts_s else lanes.starts_s,
        between_s=median(pauses) if pauses and lanes.between_s else lanes.between_s,
    )


@dataclass(frozen=True)
class _Work:
    """Trials still to be run: how many of each kind, and in how many blocks of each workload."""

    kinds: Counter[Kind]
    blocks: Mapping[str, int]

    def times(self, factor: float) -> "_Work":
        kinds = Counter({kind: math.ceil(n * factor) for kind, n in self.kinds.items()})
        return _Work(kinds, {key: math.ceil(n * factor) for key, n in self.blocks.items()})


_NOTHING = _Work(Counter(), {})


class Pricing:
    """Prices the stages of a study: its sweep, its decisions, and the outcomes of its plan."""

    def __init__(
        self,
        sweep: Sweep,
        stage: Stage,
        tuning: Tuning,
        outcomes: Sequence[Outcome],
        lanes: Lanes,
    ) -> None:
        resources = sweep.keys.resources
        self._sweep, self._stage, self._decided, self._lanes = sweep, stage, tuning, lanes
        self._outcomes = outcomes
        self._threads = resources.cpus_per_task if resources.device == "cpu" else 1
        self._times = TrialTimes(outcomes, resources.device, resources.cpus_per_task)

    def price(self) -> Price:
        """Return what is still to be paid."""
        stages = [*self._tuning(), *self._pilots(), *self._comparison()]
        return Price(tuple(one for one in stages if one.trials), self._lanes.unit)

    def price_design(self, searches: int, seeds: int) -> tuple[StagePrice, StagePrice]:
        """Return what tuning by some searches and a comparison on some seeds cost as a whole.

        No search is widened, and what has run already is paid again.
        """
        kinds = Counter(self._compared(workload, name) for workload, name in self._pairs())
        block = _Work(kinds, {one.key: 1 for one in self._sweep.workloads})
        runs = self._sweep.search_runs
        once = self._rounds([one for one in runs if one.number == runs[0].number])
        tuning = self._cost("tuning", once.times(searches))
        return tuning, self._cost("comparison", block.times(seeds))

    def _tuning(self) -> Iterator[StagePrice]:
        now, widened = self._searching("now")
        yield self._cost("tuning", now)
        yield replace(self._cost("widening", widened), at_most=True)

    def _searching(self, when: Wanted) -> tuple[_Work, _Work]:
        """Return the trials of searches that are wanted at some time: as planned, and to widen."""
        keys, stage = self._sweep.keys.tune, self._stage
        if keys is None:
            return _NOTHING, _NOTHING
        trials = [one for one in self._outcomes if one.trial.phase == "tune"]
        wanted = [one for one in trials if stage.wanted(one.trial) == when]
        work = _count([one for one in wanted if not one.has_result])
        numbers = {TunedCandidate.search_of(one.trial.candidate) for one in wanted}
        runs = [one for one in self._sweep.search_runs if one.number in numbers]
        runs = [one for one in runs if (one.of, one.number) not in self._decided.decided]
        to_suggest = stage.to_suggest if when == "now" else stage.to_suggest_later
        once = self._rounds(runs)
        if to_suggest and runs:
            work = _add(work, once.times(to_suggest / sum(once.kinds.values())))
        left = [one for one in runs for _ in range(1 + keys.widen - self._decided.rounds(one))]
        return work, self._rounds(left)

    def _rounds(self, runs: Sequence[SearchRun]) -> _Work:
        """Return the trials of a round of each of some searches, for all candidates."""
        keys = self._sweep.keys.tune
        if keys is None:
            return _NOTHING
        tuned = [one for one in self._sweep.candidates if isinstance(one, TunedCandidate)]
        kinds: Counter[Kind] = Counter()
        blocks: Counter[str] = Counter()
        for run in runs:
            workload = run.workload
            blocks[workload.key] += keys.seeds
            for one in tuned:
                early = one.rungs_in(run) is not None
                named = workload, workload.key, one.name
                kind = Kind(*named, "tune", workload.ranks, early)
                kinds[kind] += one.search.trials * keys.seeds
        return _Work(kinds, blocks)

    def _pilots(self) -> Iterator[StagePrice]:
        keys = self._sweep.keys.pilot
        if keys is None:
            return
        names = {baseline for _, baseline in self._sweep.questions}
        workloads = [one for one in self._sweep.workloads if one.metric_spec.target is None]
        wanted = [
            (w, name, block) for w in workloads for name in names for block in range(keys.seeds)
        ]
        yield self._cost("pilots", self._missing("pilot", wanted))

    def _comparison(self) -> Iterator[StagePrice]:
        stage, looks = self._stage, self._stage.looks
        number = stage.next_look or len(stage.decisions)  # the look that is under way, or the last
        reached, seen = (looks[number - 1], looks[-1]) if looks else (math.inf, math.inf)
        cells = [
            (w, name, block)
            for block in self._sweep.keys.seeds.blocks
            for w, name in self._pairs()
        ]
        places = [cell[2] - stage.first for cell in cells]
        # What no look sees runs at once.
        is_now = [not 0 <= place < seen or place < reached for place in places]
        now = [cell for cell, is_in in zip(cells, is_now, strict=True) if is_in]
        yield self._cost("comparison", self._missing("compare", now))
        if stage.is_over:
            return
        later = [cell for cell, is_in in zip(cells, is_now, strict=True) if not is_in]
        work = self._missing("compare", later)
        for searched in self._searching("later"):
            work = _add(work, searched)
        last = len(looks)
        name = f"look {last} adds" if number + 1 == last else f"looks {number + 1} to {last} add"
        yield replace(self._cost(name, work), at_most=True)

    def _pairs(self) -> list[tuple[Workload, str]]:
        return [(w, one.name) for w in self._sweep.workloads for one in self._sweep.candidates]

    def _compared(self, workload: Workload, candidate: str, phase: Phase = "compare") -> Kind:
        return Kind(workload, workload.key, candidate, phase, workload.ranks)

    def _missing(self, phase: Phase, wanted: Sequence[tuple[Workload, str, int]]) -> _Work:
        """Return those of some trials, by workload, candidate and block, that have no result.

        Without those that a look has spared.
        """
        over = {
            (one.trial.workload.name, one.trial.candidate.declared, one.trial.block)
            for one in self._outcomes
            if one.trial.phase == phase
            and (one.has_result or self._stage.wanted(one.trial) == "spared")
        }
        left = [(w, name, block) for w, name, block in wanted if (w.name, name, block) not in over]
        blocks: dict[str, set[int]] = {}
        for workload, _, block in left:
            blocks.setdefault(workload.key, set()).add(block)
        kinds = Counter(self._compared(workload, name, phase) for workload, name, _ in left)
        return _Work(kinds, {key: len(found) for key, found in blocks.items()})

    def _cost(self, name: str, work: _Work) -> StagePrice:
        trials = sum(work.kinds.values())
        if not trials:
            return StagePrice(name, 0, 0.0, 0.0, False, True)
        found = {kind: self._times.find(kind) for kind in work.kinds}
        taken = {kind: one for kind, one in found.items() if one is not None}
        if len(taken) < len(found):
            unknown = dict.fromkeys(self._name(kind) for kind in found if kind not in taken)
            return StagePrice(name, trials, None, None, False, False, tuple(unknown))
        busy = sum(n * taken[kind].seconds for kind, n in work.kinds.items())
        paid = sum(n * taken[kind].seconds * kind.ranks for kind, n in work.kinds.items())
        lanes, ranks = self._lanes, max(kind.ranks for kind in work.kinds)
        at_a_time = max(1, min(lanes.count // ranks, trials, lanes.concurrent or trials))
        packs = count_packs(list(work.blocks.values()), trials, at_a_time)
        start = lanes.starts_s
        rounds = math.ceil(packs / at_a_time)
        seconds = rounds * (start + busy / packs) if start else busy / at_a_time
        hours = (paid + packs * start * ranks) * self._threads / lanes.shared / 3600
        return StagePrice(
            name,
            trials,
            seconds + lanes.between_s,
            hours,
            any(
                one.at_most or (kind.ends_early and not one.measured)
                for kind, one in taken.items()
            ),
            all(one.measured for one in taken.values()),
        )

    def _name(self, kind: Kind) -> str:
        """Return the workload of a kind of trials, and its size if there is a cheaper one."""
        tune, name = self._sweep.keys.tune, kind.workload.name
        if tune is None or tune.proxy is None:
            return name
        return f"{name} by proxy" if kind.phase == "tune" else f"{name} at full size"


def _count(outcomes: Sequence[Outcome]) -> _Work:
    blocks: dict[str, set[int]] = {}
    for one in outcomes:
        blocks.setdefault(one.trial.workload.key, set()).add(one.trial.block)
    kinds = Counter(Kind.of(one.trial) for one in outcomes)
    return _Work(kinds, {key: len(found) for key, found in blocks.items()})


def _add(one: _Work, other: _Work) -> _Work:
    blocks = Counter(one.blocks)
    blocks.update(other.blocks)
    return _Work(one.kinds + other.kinds, blocks)


def describe_price(price: Price) -> list[str]:
    """Return a line for each stage that is not over, and their sum."""
    if not price.stages:
        return ["nothing left to do"]
    whole = price.whole
    basis = "by the trials that have ended" if whole.measured else "a rough guess until one ended"
    if not whole.measured and any(one.measured for one in price.stages):
        basis = "partly by the trials that have ended, partly a rough guess"
    if whole.unknown:
        known = [one for one in price.stages if not one.unknown]
        how = "by the trials that have ended" if all(one.measured for one in known) else "a guess"
        basis = f"what is known is {how}" if known else ""
    because = f" ({basis})" if basis else ""
    if len(price.stages) == 1:
        return [_describe_amount(whole, price.unit) + because]
    *lines, last = [_describe_stage(one, price.unit) for one in (*price.stages, whole)]
    return [*lines, last + because]


def _describe_stage(stage: StagePrice, unit: str) -> str:
    trials = f"{stage.trials} trial{'s' * (stage.trials != 1)}"
    return f"{stage.name}: {trials}, {_describe_amount(stage, unit)}"


def _describe_amount(stage: StagePrice, unit: str) -> str:
    if stage.seconds is None or stage.hours is None:
        return f"not known before {_describe_unknown(stage.unknown)} ended"
    most = "at most" if stage.at_most else "about"
    return f"{most} {in_words(stage.seconds)}, {format_hours(stage.hours)} {unit} hours"


def _describe_unknown(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"a trial of workload {names[0]} has"
    *first, last = names
    if len(names) > _MOST_NAMED:
        first, last = list(names[:_MOST_NAMED]), f"{len(names) - _MOST_NAMED} more"
    return f"trials of workloads {', '.join(first)} and {last} have"


def format_hours(hours: float) -> str:
    """Write hours of a device: 0.03, 1.4, 120."""
    return f"{hours:.2g}" if hours < 10 else f"{hours:.0f}"
