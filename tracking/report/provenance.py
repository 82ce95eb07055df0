"""Where the numbers of a report come from: trials, seeds, hosts, code, data, as rows and tables.

Reads outcomes alone; says nothing about verdicts.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.contract.command_template import select_settings
from jobs.contract.trial import STREAMS
from jobs.contract.workloads.workload import ImageWorkload, Workload
from tracking.compare.endpoint_values import EndpointValue, endpoint_spans, measure_endpoint
from tracking.compare.endpoints import (
    EndpointValues,
    UnmeasuredError,
    curve_metric,
    curve_spans,
    final_metric,
    reads_accuracy,
    score_trial,
)
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.questions.endpoint import STANDARD, Endpoint
from tracking.report.tables import Table
from tracking.report.wording import level, number, ranges

_PARTS = ("train", "validation", "test")


def data_rows(
    outcomes: Sequence[Outcome], endpoints: Sequence[Endpoint] = STANDARD
) -> list[dict[str, Any]]:
    """Return one row for each trial: its scores, seeds, host and identity.

    Of further `endpoints` there are columns by their names: as scored, a time in its clock.

    If the user's own trainings are among them, there are columns for any metric as well; those in
    percent are of images alone.
    """
    rows = []
    names_metrics = not all(reads_accuracy(one.trial.workload) for one in outcomes)
    spans = curve_spans(outcomes)
    others = [one for one in endpoints if not one.is_standard]
    ended = [one for one in outcomes if one.has_result]
    of_others = {one: endpoint_spans(ended, one) for one in others}
    for one in outcomes:
        trial, reached = one.trial, _score(one, spans)
        ends = [reached.of(endpoint) if reached else None for endpoint in STANDARD]
        metrics = [final_metric(trial.workload), curve_metric(trial.workload)]
        row: dict[str, Any] = {
            "workload": trial.workload.name,
            "candidate": trial.candidate.name,
            "block": trial.block,
            "state": one.state,
            "final_test_accuracy_pct": ends[0] if reads_accuracy(trial.workload) else None,
            "auc_pct": ends[1] if reads_accuracy(trial.workload) else None,
            "train_seconds": one.train_seconds,
            "attempts": one.attempts,
            "nondeterministic": int(one.nondeterministic),
            "trial": trial.id,
        }
        row |= {key: one.job.get(key) for key in ("host", "device", "code")}
        row |= {f"seed_{stream}": trial.seeds.get(stream) for stream in STREAMS}
        row["error"] = one.error
        if names_metrics:
            row |= {"final_metric": metrics[0], "final": ends[0]}
            row |= {"curve_metric": metrics[1], "auc": ends[1]}
        row |= {other.name: _other(one, other, of_others[other]) for other in others}
        rows.append(row)
    return rows


def _other(
    outcome: Outcome, endpoint: Endpoint, spans: Mapping[str, tuple[float, float]]
) -> float | None:
    """Return the value of a trial by an endpoint, None if it has none."""
    if not outcome.has_result:
        return None
    found = measure_endpoint(outcome, endpoint, spans)
    if not isinstance(found, EndpointValue):
        return None
    return math.exp(-found.value) if endpoint.measure == "time_to_target" else found.value


def states(outcomes: Sequence[Outcome]) -> str:
    """Count the trials by state, in words."""
    counted = Counter(one.state for one in outcomes)
    return ", ".join(f"{n} {state}" for state, n in sorted(counted.items()))


def data(outcomes: Sequence[Outcome]) -> Table:
    """Return what each workload is: blocks, images, steps, chance, digest of the data.

    Also how its curve was measured, if that is not as usual on any of them.
    """
    rows = []
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.trial.workload.name, []).append(one)
    plans = {name: _evaluations(trials[0].trial.workload) for name, trials in groups.items()}
    for name, trials in groups.items():
        workload = trials[0].trial.workload
        began = next((one.started for one in trials if one.started), {})
        images = began.get("images", {})
        digests = {one.started.get("digests", {}).get("data") for one in trials}
        data, model = ("own training", *workload.references.values())[-2:]
        epochs = workload.budget if workload.unit == "epoch" else None
        steps = began.get("steps") or workload.steps
        rows.append(
            {
                "workload": name,
                "data set": data,
                "model": model,
                "blocks": ranges({one.trial.block for one in trials}),
                "images: train / val / test": " / ".join(
                    str(images.get(part, number(None))) for part in _PARTS
                ),
                "epochs / steps": f"{epochs or number(None)} / {steps or number(None)}",
                "chance, %": _chance(workload, began),
                "data digest": ", ".join(sorted(str(one) for one in digests if one))
                or number(None),
            }
            | ({"evaluation": plans[name] or "as usual"} if any(plans.values()) else {})
        )
    return Table.of("Workloads", rows)


def _evaluations(workload: Workload) -> str:
    return ", ".join(workload.evaluate.describe()) if isinstance(workload, ImageWorkload) else ""


def candidates(outcomes: Sequence[Outcome]) -> Table:
    """Return every candidate with its optimizer and the hyperparameters of its trainings."""
    optimizers: dict[str, str] = {}
    given: dict[str, dict[str, dict[str, Any]]] = {}
    for trial in (one.trial for one in outcomes):
        optimizers[trial.candidate.name] = trial.candidate.optimizer
        values = given.setdefault(trial.candidate.name, {})
        for key, value in select_settings(trial.workload, trial.candidate).items():
            values.setdefault(key, {})[trial.workload.name] = value
    rows = tuple(
        (
            name,
            optimizer,
            ", ".join(f"{key} = {_on_all(on)}" for key, on in sorted(given[name].items())),
        )
        for name, optimizer in optimizers.items()
    )
    return Table("Candidates", ("candidate", "optimizer", "hyperparameters"), rows)


def _on_all(values: Mapping[str, Any]) -> str:
    """Return the value on all workloads; tuned, each may have another one."""
    first, *rest = values.values()
    if all(value == first for value in rest):
        return f"{first}"
    return " / ".join(f"{value} on {name}" for name, value in values.items())


def environments(outcomes: Sequence[Outcome]) -> Table:
    """Return hosts, devices, code and packages, with the number of trials that each ran."""
    counted = Counter(
        (
            *(str(one.job.get(fact, number(None))) for fact in ("host", "device", "code")),
            ", ".join(f"{name} {v}" for name, v in sorted(one.job.get("packages", {}).items())),
        )
        for one in outcomes
        if one.job
    )
    rows = tuple((*environment, str(n)) for environment, n in sorted(counted.items()))
    return Table("Environments", ("host", "device", "code", "packages", "trials"), rows)


def _chance(workload: Workload, began: Mapping[str, Any]) -> str:
    """Spell the chance level of the final score: in percent, or in the unit of its metric."""
    spec = workload.metric_spec
    declared, metric = spec.chance, final_metric(workload)
    chance = began.get("chance", {}).get(metric) if declared is None else declared
    if spec.unit == "plain" and chance is not None:
        return f"{level(chance, spec)} {metric}"
    return number(None if chance is None else Scale.of(spec).factor * chance, 1)


def _score(outcome: Outcome, spans: Mapping[str, tuple[int, int]]) -> EndpointValues | None:
    if not outcome.has_result:
        return None
    try:
        return score_trial(outcome, spans)
    except UnmeasuredError:
        return None
