"""How long trials will take: measured if any has ended, else a rough guess that says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from jobs.contract import catalog
from jobs.contract.trial import ImageWorkload, Trial
from tracking.outcomes import Outcome

# Multiply-adds per second of one CPU thread and of one GPU: measured with the ConvNet, good to a
# factor of three; trials that have ended replace them.
_PER_SECOND = {"cpu": 3e10, "cuda": 2e12}
_BACKWARD = 2  # a backward pass costs about two forward ones
_HELD_OUT = 0.1  # the validation part, as a share of the training part
_FEWEST_SECONDS = 0.3

# Trials that take equally long: workload, ranks, whether they may end early.
_Kind = tuple[str, int, bool]


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of wall clock with all lanes busy; None if nothing is known."""

    seconds: float | None
    measured: bool


def estimate(
    outcomes: Sequence[Outcome], lanes: int, device: str, concurrent: int | None = None
) -> TimeEstimate:
    """Estimate the wall clock of what has no result yet, on `lanes` processes.

    At most `concurrent` trials run at a time. Trials that have ended are the measure; a running
    one counts with the part that it has left.
    """
    measured = _measure(outcomes)
    remaining = [outcome for outcome in outcomes if not outcome.has_result]
    seconds = [_seconds(outcome, measured, device) for outcome in remaining]
    known = [value for value in seconds if value is not None]
    if remaining and not known:
        return TimeEstimate(None, False)
    total = len(seconds) * fmean(known) if known else 0.0
    every = all(_kind(outcome.trial) in measured for outcome in remaining)
    ranks = fmean(outcome.trial.world_size for outcome in remaining) if remaining else 1
    at_a_time = max(1, min(lanes / ranks, len(remaining), concurrent or len(remaining)))
    return TimeEstimate(total / at_a_time, every)


def estimate_by_trial(outcomes: Sequence[Outcome], device: str) -> Mapping[str, float | None]:
    """Return the seconds that every trial takes as a whole, by id; None if nothing is known."""
    measured = _measure(outcomes)
    trials = [outcome.trial for outcome in outcomes]
    return {trial.id: measured.get(_kind(trial)) or _guess(trial, device) for trial in trials}


def _seconds(outcome: Outcome, measured: Mapping[_Kind, float], device: str) -> float | None:
    whole = measured.get(_kind(outcome.trial)) or _guess(outcome.trial, device)
    if whole is None or outcome.state != "running" or not outcome.curve:
        return whole
    steps: int | None = outcome.started.get("steps")
    return whole if not steps else max(0.0, whole * (1 - outcome.curve[-1].step / steps))


def in_words(seconds: float) -> str:
    """Write a duration for people: 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _kind(trial: Trial) -> _Kind:
    return trial.workload.key, trial.world_size, trial.rungs is not None


def _measure(outcomes: Sequence[Outcome]) -> Mapping[_Kind, float]:
    """Return the median wall seconds of a trial, evaluations included, by its kind.

    Trials that may end early are a kind of their own. Until one of the other kind has ended, they
    are scaled up to a trial that goes to its end.
    """
    seconds: dict[_Kind, list[float]] = {}
    scaled: dict[_Kind, list[float]] = {}
    for outcome in outcomes:
        # Between two attempts a trial may have lain idle for days.
        whole = outcome.has_result and outcome.attempts == 1
        if whole and outcome.started_ms and outcome.ended_ms:
            took = (outcome.ended_ms - outcome.started_ms) / 1000
            kind = _kind(outcome.trial)
            seconds.setdefault(kind, []).append(took)
            if outcome.trial.rungs is not None:
                scaled.setdefault((kind[0], kind[1], False), []).append(took / outcome.part)
    return {kind: median(values) for kind, values in (scaled | seconds).items()}


def _guess(trial: Trial, device: str) -> float | None:
    workload = trial.workload
    if not isinstance(workload, ImageWorkload):
        return None
    dataset = catalog.DATASETS.get(workload.dataset)
    model = catalog.MODELS.get(workload.model)
    if dataset is None or model is None:
        return None
    options = workload.dataset_options
    size, classes = options.get("size", dataset.size), options.get("classes", dataset.classes)
    per_image = 1e6 * model.mflop(dataset.channels, size, classes, workload.model_options)
    available = options.get("images", dataset.train_images)
    trained = workload.epochs * (workload.train_images or available) * (1 + _BACKWARD)
    scored = (4 * workload.epochs + 1) * available * _HELD_OUT + dataset.test_images
    rate = _PER_SECOND[device] * (trial.threads if device == "cpu" else 1) * trial.world_size
    return max(_FEWEST_SECONDS, float(per_image * (trained + scored) / rate))
