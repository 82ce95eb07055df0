"""The run of a trial in MLflow, as data, and how names and values are spelled there.

Params are what a trial was to do, tags what came of it. Imports no MLflow and sends nothing.
"""

import hashlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from jobs.contract.command_template import select_settings
from jobs.contract.content import canonical_json, digest
from jobs.contract.trial import Trial
from jobs.contract.workloads.workload import Workload
from tracking.history import State
from tracking.outcomes import Outcome

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

# The tags that name what a run is of: a trial, a candidate on a workload, a study.
TRIAL_TAG = "thermolion.trial"
CELL_TAG = "thermolion.cell"
STUDY_TAG = "thermolion.parent_of"
STATE_TAG = "thermolion.state"
FINGERPRINT_TAG = "thermolion.fingerprint"
NOTE_TAG = "mlflow.note.content"

# Count it up when the same outcome shall look different: collecting then updates the old runs.
_FORMAT = 2
NAMING_TAGS = (TRIAL_TAG, CELL_TAG, STUDY_TAG)

_OF_THE_JOB = ("host", "device", "code", "submission", "pack", "job")

_STATUS: Mapping[State, Status] = {
    "running": "RUNNING",
    "interrupted": "KILLED",
    "completed": "FINISHED",
    "diverged": "FINISHED",  # a result; the tag of its state tells it apart
    "failed": "FAILED",
}

MAX_TAG = 8000
MAX_PARAM = 6000
MAX_NAME = 250
MAX_DATA_NAME, MAX_DATA_DIGEST = 500, 36
MAX_KEY = 250
_MAX_PART = 100
_ROOM = 20  # letters that a key leaves to what is added to it: `final_…`, `….sd`

_PREFIXES = {"options": "options", "dataset_options": "dataset", "model_options": "model"}
_READABLE = str.maketrans({"=": ":", "[": " ", ",": " ", "]": None})
_FORBIDDEN = re.compile(r"[^\w.\- :]")


# What a run is of: the tag that names it, and its value.
Name = tuple[str, str]


class MetricPoint(NamedTuple):  # there are a hundred a trial: made in a third of the time
    """One value of a metric; `time_ms` is UTC."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class DataRecord:
    """A data set that a run was given: its name, a digest of its content, where it comes from."""

    name: str
    digest: str
    source: str


@dataclass(frozen=True)
class Commit:
    """The git commit of the user's code; `dirty` if the code had been edited since."""

    id: str
    dirty: bool


@dataclass(frozen=True)
class RunRecord:
    """One MLflow run; times are UTC in ms, `end_ms` is None while it goes on."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: tuple[MetricPoint, ...]
    status: Status
    start_ms: int
    end_ms: int | None
    data: tuple[DataRecord, ...] = ()

    @property
    def of(self) -> Name:
        """The tag that names what the run is of, and its value."""
        return next((tag, self.tags[tag]) for tag in NAMING_TAGS if tag in self.tags)

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the content: equal for equal records, whoever collects them."""
        points = [[one.key, repr(one.value), one.time_ms, one.step] for one in self.metrics]
        tags, params = dict(self.tags), dict(self.params)
        times = [self.start_ms, self.end_ms]
        data = [[one.name, one.digest, one.source] for one in self.data]
        return digest([_FORMAT, self.name, tags, params, points, self.status, times, data])


def trial_record(outcome: Outcome, study: str, commit: Commit | None = None) -> RunRecord:
    """Return the run of a trial; raises ValueError for one that has not started."""
    if outcome.started_ms is None:
        raise ValueError(f"trial {outcome.trial.id} is {outcome.state}: it has no run yet")
    points = tuple(_metrics(outcome))
    infinite = sorted({one.key for one in points if math.isinf(one.value)})
    trial = outcome.trial
    name = run_name(trial, trial.candidate.name, f"block {trial.block}")
    return RunRecord(
        name=name,
        tags=_tags(outcome, infinite, study, name) | _source(commit),
        params=params_of(trial),
        metrics=tuple(map(_storable, points)) if infinite else points,
        status=_STATUS[outcome.state],
        start_ms=outcome.started_ms,
        end_ms=outcome.ended_ms,
        data=data_of(outcome),
    )


def data_of(outcome: Outcome) -> tuple[DataRecord, ...]:
    """Return the data set that a trial was given, once its log has the digest of it."""
    digests = outcome.started.get("digests", {})
    if "data" not in digests:
        return ()
    workload = outcome.trial.images
    source = {"dataset": workload.dataset} | dict(workload.dataset_options)
    named = shorten(workload.dataset, MAX_DATA_NAME)
    return (DataRecord(named, str(digests["data"])[:MAX_DATA_DIGEST], canonical_json(source)),)


def run_name(trial: Trial, *parts: str) -> str:
    """Name a run as a person would: `digits · adamw[lr=0.001] · block 3`."""
    phase = [] if trial.phase == "compare" else [trial.phase]
    return shorten(" · ".join([*phase, trial.workload.name, *parts]), MAX_NAME)


def source_tags(study: str) -> dict[str, str]:
    """Return what MLflow shows as the source of a run."""
    return {"mlflow.source.name": f"{study}/sweep.yaml", "mlflow.source.type": "LOCAL"}


def _source(commit: Commit | None) -> dict[str, str]:
    if commit is None:
        return {}
    dirty = "true" if commit.dirty else "false"
    return {"mlflow.source.git.commit": commit.id, "mlflow.source.git.dirty": dirty}


def params_of(trial: Trial) -> dict[str, str]:
    """Return the params of a trial: what its id is made of, since MLflow lets no param change.

    A hyperparameter has its bare name, unless something else has it.
    """
    workload, candidate = trial.workload, trial.candidate
    content: dict[str, Any] = {
        "optimizer": candidate.optimizer,
        **_workload_params(workload),
        "world_size": trial.world_size,
        "threads": trial.threads,
        "precision": trial.precision,
        "execution": trial.execution,
        "replica": candidate.replica,
        "noise_seed": candidate.noise_seed,
    }
    content |= {f"seed.{stream}": seed for stream, seed in trial.seeds.items()}
    for name, value in select_settings(workload, candidate).items():
        content[f"hyperparameter.{name}" if name in content else name] = value
    named = keys(content)
    return {named[name]: spell(value, MAX_PARAM) for name, value in content.items()}


def _workload_params(workload: Workload) -> dict[str, Any]:
    """Spell a workload: options one by one, and of a recipe what is not at its default."""
    content = workload.content()
    if "train_images" in content:
        content["train_images"] = content["train_images"] or "all"
    content = {name: value for name, value in content.items() if value is not None}
    for name, prefix in _PREFIXES.items():
        options = content.pop(name, {})
        content |= {f"{prefix}.{option}": value for option, value in options.items()}
    return content


def _tags(outcome: Outcome, infinite: list[str], study: str, name: str) -> dict[str, str]:
    trial, job, started = outcome.trial, outcome.job, outcome.started
    facts: dict[str, Any] = {
        "trial": trial.id,
        "study": study,
        "phase": trial.phase,
        "candidate": trial.candidate.name,
        "setting_of": trial.candidate.setting_of,
        "search": trial.candidate.search_number,
        "workload": trial.workload.name,
        "block": trial.block,
        "state": outcome.state,
        "rung": outcome.rung,
        "attempts": outcome.attempts,
        "weights": outcome.weights,
        "error": outcome.error,
        "at_chance": outcome.at_chance,
        "nondeterministic": "true" if outcome.nondeterministic else None,
        "infinite": ", ".join(infinite),
        "packages": _listed(job.get("packages", {})),
        "digests": _listed(started.get("digests", {})),
        "images": _listed(started.get("images", {})),
    }
    facts |= {fact: job.get(fact) for fact in _OF_THE_JOB}
    facts |= {fact: started.get(fact) for fact in ("steps", "steps_per_epoch", "parameters")}
    ours = {
        f"thermolion.{fact}": spell(value, MAX_TAG)
        for fact, value in facts.items()
        if value is not None and value != ""
    }
    note = {NOTE_TAG: _note(outcome)} if outcome.error else {}
    return ours | note | {"mlflow.runName": name} | source_tags(study)


def _note(outcome: Outcome) -> str:
    """Say on the page of the run why it ended; the end of a traceback is what matters."""
    note = f"**{outcome.state}**: {outcome.error}"
    if outcome.traceback:
        room = max(MAX_TAG - len(note) - 20, 0)
        note += f"\n\n```\n{outcome.traceback[-room:] if room else ''}\n```"
    return shorten(note, MAX_TAG)


def _metrics(outcome: Outcome) -> Iterator[MetricPoint]:
    """Yield the curve by step, then the final metrics at the last step.

    A final metric whose name the curve has already is prefixed: a history must not hold two
    values of one step.
    """
    curve = {name for point in outcome.curve for name in point.metrics}
    curve |= {"train_seconds"} if outcome.curve else set()
    finals = _apart_from(curve, _finals(outcome))
    named = keys(sorted(curve | set(finals)))
    for point in outcome.curve:
        measured = {"train_seconds": point.train_seconds} | dict(point.metrics)
        for name, value in measured.items():
            yield MetricPoint(named[name], float(value), point.time_ms, point.step)
    for step, (time_ms, used) in outcome.usage.items():
        for name, value in used.items():  # as MLflow calls its own, which have a tab of their own
            yield MetricPoint(f"system/{name}", value, time_ms, step)
    last = outcome.curve[-1].step if outcome.curve else 0
    for name, value in finals.items():
        yield MetricPoint(named[name], float(value), outcome.ended_ms or 0, last)


def _apart_from(curve: Collection[str], finals: Mapping[str, float]) -> dict[str, float]:
    """Prefix what the curve has as well, until nothing else is called so."""
    named: dict[str, float] = {}
    for name, value in finals.items():
        free = name
        while free in curve or free in named or (free != name and free in finals):
            free = f"final_{free}"
        named[free] = value
    return named


def _finals(outcome: Outcome) -> dict[str, float]:
    if not outcome.has_result:
        return {}
    costs = {"train_seconds": outcome.train_seconds, "peak_memory_mb": outcome.peak_memory_mb}
    return dict(outcome.metrics) | {k: v for k, v in costs.items() if v is not None}


def _storable(point: MetricPoint) -> MetricPoint:
    """Clip an infinity to the largest float, as MLflow would: what is sent is what comes back."""
    if not math.isinf(point.value):
        return point
    return point._replace(value=math.copysign(sys.float_info.max, point.value))


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))


@lru_cache(maxsize=4096)
def mlflow_key(name: str) -> str:
    """Turn a name into a key: `adamw[lr=0.001]` becomes `adamw lr:0.001`; "/" makes groups.

    Different names may become one key; `keys` keeps them apart.
    """
    whole = "/".join(part for part in map(_part, name.split("/")) if part) or "unnamed"
    return shorten_key(whole, MAX_KEY - _ROOM)


def shorten_key(key: str, limit: int = MAX_KEY) -> str:
    """Cut a key that MLflow would refuse; what is cut stays apart from others."""
    return key if len(key) <= limit else f"{key[: limit - 9]}-{_digest(key)}"


def part(name: str) -> str:
    """Turn a name into one part of a key: as `key`, without groups."""
    return _part(name.replace("/", "_")) or "unnamed"


def keys(names: Iterable[str]) -> dict[str, str]:
    """Return the key of every name, each its own."""
    return _apart({name: mlflow_key(name) for name in names})


def parts(names: Iterable[str]) -> dict[str, str]:
    """Return every name as one part of a key, each its own."""
    return _apart({name: part(name) for name in names})


def spell(value: Any, limit: int) -> str:
    """Spell a value so that it can be read back: strings as they are, the rest as JSON."""
    if type(value) is int:
        return shorten(str(value), limit)  # most are; what JSON says, in a tenth of the time
    spelled = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return shorten(spelled, limit)


def shorten(long: str, limit: int) -> str:
    """Cut a text to `limit` letters, the last of them an ellipsis."""
    return long if len(long) <= limit else long[: limit - 2] + " …"


def _apart(shortened: dict[str, str]) -> dict[str, str]:
    taken = Counter(shortened.values())
    return {
        name: f"{short}-{_digest(name)}" if taken[short] > 1 else short
        for name, short in shortened.items()
    }


def _part(name: str) -> str:
    clean = " ".join(_FORBIDDEN.sub("_", name.translate(_READABLE)).split())
    if len(clean) > _MAX_PART:
        clean = f"{clean[: _MAX_PART - 9]}-{_digest(name)}"
    # MLflow reads a key as a path: a part of dots alone would climb.
    return "" if not clean.strip(".") else clean


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
