"""How long trials will take: measured if any has ended, else a rough guess that says so."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from jobs.contract.trial import Phase, Trial
from jobs.contract.workloads import catalog
from jobs.contract.workloads.workload import ImageWorkload, Workload
from orchestrator.study.image_counts import LoggedImages
from tracking.outcomes import Outcome

# Multiply-adds per second of one CPU thread and of one GPU: measured with the ConvNet, good to a
# factor of three; trials that have ended replace them.
_PER_SECOND = {"cpu": 3e10, "cuda": 2e12}
_BACKWARD = 2  # a backward pass costs about two forward ones
_FEWEST_SECONDS = 0.3
_LONGEST_LEAD_MS = 60_000  # from one trial of a process to the start of the next


@dataclass(frozen=True)
class Kind:
    """Trials that take equally long.

    `candidate` is the name that a sweep declares; `ends_early`: it may end at a rung.
    """

    workload: Workload = field(compare=False)
    workload_key: str
    candidate: str
    phase: Phase
    ranks: int
    ends_early: bool = False

    @staticmethod
    def of(trial: Trial) -> "Kind":
        return Kind(
            trial.workload,
            trial.workload.key,
            trial.candidate.declared,
            trial.phase,
            trial.world_size,
            trial.rungs is not None,
        )

    @property
    def keys(self) -> list[tuple[object, ...]]:
        """What it may be measured by, the nearest first.

        What other candidates take, or the same in another phase, is nearer than any guess.
        """
        base = (self.workload_key, self.ranks, self.ends_early)
        return [
            (*base, self.candidate, self.phase),
            (*base, self.candidate, None),
            (*base, None, self.phase),
            (*base, None, None),
        ]


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of wall clock with all lanes busy; None if nothing is known."""

    seconds: float | None
    measured: bool


@dataclass(frozen=True)
class Taken:
    """The seconds of one kind of trial.

    `measured`: by trials of the workload that have ended. `at_most`: guessed from a data set of
    which nobody has said how much of it there is, so from the whole official one.
    """

    seconds: float
    measured: bool
    at_most: bool = False


class TrialTimes:
    """What the trials of a study take, by those that have ended, else guessed."""

    def __init__(self, outcomes: Sequence[Outcome], device: str, threads: int = 1) -> None:
        self._device, self._threads = device, threads
        self._images = LoggedImages(outcomes)
        self._measured: dict[tuple[object, ...], float] = {}
        took: dict[tuple[object, ...], list[float]] = {}
        scaled: dict[tuple[object, ...], list[float]] = {}
        ratios = []
        for outcome, seconds in _measure_trials(outcomes):
            kind = Kind.of(outcome.trial)
            for key in kind.keys:
                took.setdefault(key, []).append(seconds)
            guess = self._guess(kind)
            if guess is not None:
                ratios.append(seconds / outcome.part / guess.seconds)
            if kind.ends_early:  # what it would take to its end, until another kind has ended
                for key in replace(kind, ends_early=False).keys:
                    scaled.setdefault(key, []).append(seconds / outcome.part)
        self._measured = {key: median(values) for key, values in (scaled | took).items()}
        self._factor = median(ratios) if ratios else 1.0

    def find(self, kind: Kind) -> Taken | None:
        """Return what a kind of trial takes; None if nothing is known."""
        for key in kind.keys:
            if key in self._measured:
                return Taken(self._measured[key], True)
        guess = self._guess(kind)
        return guess and Taken(guess.seconds * self._factor, False, guess.at_most)

    def _guess(self, kind: Kind) -> Taken | None:
        workload = kind.workload
        if not isinstance(workload, ImageWorkload):
            return None
        dataset = catalog.DATASETS.get(workload.dataset)
        model = catalog.MODELS.get(workload.model)
        images = self._images.count(workload)
        if dataset is None or model is None or images is None:
            return None
        options = workload.dataset_options
        size, classes = options.get("size", dataset.size), options.get("classes", dataset.classes)
        per_image = 1e6 * model.mflop(dataset.channels, size, classes, workload.model_options)
        trained = workload.epochs * images.train * (1 + _BACKWARD)
        curve = images.validation or images.train
        steps = math.ceil(images.train / workload.global_batch)
        scored = workload.evaluate.count_images(steps, workload.epochs, curve) + images.test
        threads = self._threads if self._device == "cpu" else 1
        rate = _PER_SECOND[self._device] * threads * kind.ranks
        seconds = max(_FEWEST_SECONDS, float(per_image * (trained + scored) / rate))
        return Taken(seconds, False, not images.logged)


def _measure_trials(outcomes: Iterable[Outcome]) -> Iterable[tuple[Outcome, float]]:
    """Yield the trials that tell what a trial takes, with their wall seconds.

    These are from the end of the trial before it in its process, or from its own start. One of
    several attempts may have lain idle for days between two of them.
    """
    ended = [
        one
        for one in outcomes
        if one.has_result and one.attempts == 1 and one.started_ms and one.ended_ms
    ]
    ended.sort(key=lambda one: (_process(one), one.started_ms or 0))
    for before, outcome in zip([None, *ended], ended, strict=False):
        begin, end = outcome.started_ms or 0, outcome.ended_ms or 0
        if before is not None and _process(before) == _process(outcome):
            begin = min(begin, max(before.ended_ms or 0, begin - _LONGEST_LEAD_MS))
        yield outcome, max(1, end - begin) / 1000


def _process(outcome: Outcome) -> str:
    return outcome.attempt_log[-1].log if outcome.attempt_log else ""


def estimate(
    outcomes: Sequence[Outcome], lanes: int, device: str, concurrent: int | None = None
) -> TimeEstimate:
    """Estimate the wall clock of what has no result yet, on `lanes` processes.

    At most `concurrent` trials run at a time. Trials that have ended are the measure; a running
    one counts with the part that it has left.
    """
    remaining = [outcome for outcome in outcomes if not outcome.has_result]
    if not remaining:
        return TimeEstimate(0.0, True)
    times = TrialTimes(outcomes, device, remaining[0].trial.threads)
    taken = [times.find(Kind.of(outcome.trial)) for outcome in remaining]
    known = [
        one.seconds * _part_left(outcome)
        for outcome, one in zip(remaining, taken, strict=True)
        if one is not None
    ]
    if not known:
        return TimeEstimate(None, False)
    total = len(remaining) * fmean(known)
    ranks = fmean(outcome.trial.world_size for outcome in remaining)
    at_a_time = max(1, min(lanes / ranks, len(remaining), concurrent or len(remaining)))
    measured = all(one is not None and one.measured for one in taken)
    return TimeEstimate(total / at_a_time, measured)


def estimate_by_trial(outcomes: Sequence[Outcome], device: str) -> Mapping[str, float | None]:
    """Return the seconds that every trial takes as a whole, by id; None if nothing is known."""
    threads = outcomes[0].trial.threads if outcomes else 1
    times = TrialTimes(outcomes, device, threads)
    found = {kind: times.find(kind) for kind in {Kind.of(one.trial) for one in outcomes}}
    taken = {one.trial.id: found[Kind.of(one.trial)] for one in outcomes}
    return {trial: None if one is None else one.seconds for trial, one in taken.items()}


def measure_by_trial(outcomes: Sequence[Outcome], device: str) -> Mapping[str, float | None]:
    """Return the seconds of every trial, by id, as trials that have ended tell; else None."""
    times = TrialTimes(outcomes, device, outcomes[0].trial.threads if outcomes else 1)
    found = {kind: times.find(kind) for kind in {Kind.of(one.trial) for one in outcomes}}
    taken = {one.trial.id: found[Kind.of(one.trial)] for one in outcomes}
    return {
        t: one.seconds if one is not None and one.measured else None for t, one in taken.items()
    }


def _part_left(outcome: Outcome) -> float:
    steps: int | None = outcome.started.get("steps")
    if outcome.state != "running" or not outcome.curve or not steps:
        return 1.0
    return max(0.0, 1 - outcome.curve[-1].step / steps)


def in_words(seconds: float) -> str:
    """Write a duration for people: 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
