"""What a chaos run has cost: results lost, changed or doubled, in the logs and in MLflow."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos_run import ChaosRun
from subject import STUDY, TRIALS, count_completions, read_all_events, read_results

from jobs.contract import events
from tracking.mlflow_store.record import TRIAL_TAG
from tracking.mlflow_store.store import open_store
from tracking.outcomes import Outcome, read_outcomes


@dataclass(frozen=True)
class Verdict:
    """The faults that hit, by kind, and what came of them; all is well if `wrong` is empty."""

    faults: Mapping[str, int]
    missed: Mapping[str, int]
    lost: int
    attempts: int
    wrong: tuple[str, ...]


def judge(run: ChaosRun, reference: Mapping[str, Any], quiet: bool) -> Verdict:
    """Compare a study with the one that nobody has touched; `quiet`: nothing of it goes on."""
    found, ends = read_results(run.layout), count_completions(run.layout)
    lost = [trial for trial in reference if found.get(trial) != reference[trial]]
    wrong = [
        f"{trial} is lost or changed: {_different(reference[trial], found.get(trial))}"
        for trial in lost
    ]
    wrong += [f"{trial} completed {count} times" for trial, count in ends.items() if count != 1]
    wrong += [f"{trial} is of another study" for trial in found if trial not in reference]
    wrong += [f"checkpoint left: {left.name}" for left in run.layout.checkpoints.glob("*.pt")]
    wrong += [] if quiet else ["it has not come to an end, or processes of it live on"]
    wrong += _timing(run)
    wrong += [f"the user is shown a traceback: {s}" for s in run.said if "Traceback" in s]
    wrong += _in_mlflow(run)
    wrong += run.cap.passed if run.cap is not None else []
    return Verdict(
        faults=run.faults,
        missed=run.missed,
        lost=len(lost),
        attempts=sum(event.type == events.STARTED for event in read_all_events(run.layout)),
        wrong=tuple(wrong),
    )


def _different(expected: tuple[Any, ...], found: tuple[Any, ...] | None) -> str:
    if found is None:
        return "no trace of it"
    names = ("state", "weights", "metrics", "curve", "nondeterministic")
    pairs = zip(names, expected, found, strict=True)
    return ", ".join(f"{name} {b}" for name, a, b in pairs if a != b)[:300]


def _timing(run: ChaosRun) -> list[str]:
    """Durations know nothing of a clock that was set: they grow, and no faster than time.

    They do within an attempt. Of a step that was taken twice the first time counts, which may have
    taken longer than the second and the step after it together.
    """
    spent: dict[tuple[str, str | None], list[float]] = {}
    for log in run.layout.events.glob("*.jsonl"):
        for event in events.read_events(log):
            if event.type == events.EVALUATED:
                seconds = float(event.payload["train_seconds"])
                spent.setdefault((log.name, event.trial), []).append(seconds)
    return [
        f"{trial} has trained for {seconds} s in a chaos run of {run.seconds:.0f} s ({log})"
        for (log, trial), seconds in spent.items()
        if seconds != sorted(seconds) or not all(0 <= s <= run.seconds for s in seconds)
    ]


def _in_mlflow(run: ChaosRun) -> list[str]:
    """Collect twice; one run a trial, one point a step and metric, as in the curve."""
    said = run.lab.call("collect", run.sweep)
    if said.code:
        return [f"collect answers {said.code}: {said.err}"]
    again = json.loads(run.lab.call("collect", run.sweep, "--json").out)
    counts = [again[name] for name in ("new", "updated", "unchanged")]
    wrong = [] if counts == [0, 0, TRIALS] else [f"collecting again changes something: {again}"]
    with open_store(run.lab.root) as store:
        wrong += _runs(store.client, read_outcomes(run.layout.events))
    return wrong


def _runs(client: Any, outcomes: Mapping[str, Outcome]) -> list[str]:
    experiment = client.get_experiment_by_name(STUDY)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    wrong = []
    of_trials = Counter(run.data.tags[TRIAL_TAG] for run in runs if TRIAL_TAG in run.data.tags)
    if of_trials != Counter(dict.fromkeys(outcomes, 1)):
        wrong.append(f"runs by trial: {dict(of_trials)}")
    cells = {
        (one.trial.workload.name, one.trial.candidate.name, one.trial.phase)
        for one in outcomes.values()
    }
    if len(runs) != TRIALS + len(cells) + 1:  # and the study's
        wrong.append(f"{len(runs)} runs, {TRIALS} trials, {len(cells)} cells")
    for run in runs:
        outcome = outcomes.get(run.data.tags.get(TRIAL_TAG, ""))
        if outcome is None:
            continue
        if run.info.status != "FINISHED":
            wrong.append(f"{outcome.trial.id} is {run.info.status} in MLflow")
        for name in outcome.curve[0].metrics:
            history = client.get_metric_history(run.info.run_id, name)
            steps = [point.step for point in outcome.curve if name in point.metrics]
            if sorted(value.step for value in history) != steps:
                wrong.append(f"{outcome.trial.id}: {name} has {len(history)} points in MLflow")
    return wrong
