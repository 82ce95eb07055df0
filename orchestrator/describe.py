"""What `plan` and `status` say, as text and as JSON-ready records. Prints nothing."""

from collections.abc import Sequence
from typing import Any

from jobs.trial import Trial
from orchestrator.estimate import Estimate, in_words
from orchestrator.power import detectable
from orchestrator.status import Standing, Status
from orchestrator.study import Study


def plan_json(
    study: Study, status: Status, packs: Sequence[Sequence[Trial]], lanes: int, left: Estimate
) -> dict[str, Any]:
    """Return the plan: every trial with its id and state, the packs to send, the time."""
    return {
        "study": study.sweep.study,
        "trials": [
            trial.to_json() | {"id": trial.id, "state": status.planned[trial.id].state}
            for trial in study.trials
        ],
        "packs": [[trial.id for trial in pack] for pack in packs],
        "lanes": lanes,
        "done": status.done,
        "estimated_seconds": left.seconds,
        "estimate_is_measured": left.measured,
    }


def plan_text(
    study: Study, status: Status, packs: Sequence[Sequence[Trial]], lanes: int, left: Estimate
) -> str:
    """Return the plan as lines of label and content."""
    sweep = study.sweep
    shape = f"{len(sweep.workloads)} x {len(sweep.candidates)} x {len(sweep.blocks)}"
    lines = [
        ("study", f"{sweep.study}  ({study.layout.folder})"),
        ("trials", f"{len(study.trials)} = {shape} (workloads x candidates x seeds)"),
    ]
    for workload in sweep.workloads:
        budget = f"{workload.epochs} epochs, batch {workload.global_batch}"
        lines.append(
            ("workload", f"{workload.name}: {workload.dataset}, {workload.model}, {budget}")
        )
    for candidate in sweep.candidates:
        settings = ", ".join(f"{k}={v}" for k, v in candidate.hyperparameters.items())
        lines.append(("candidate", f"{candidate.name}: {candidate.optimizer}({settings})"))
    lines += [("question", f"{candidate} against {base}") for candidate, base in sweep.questions]
    busy = f"{lanes} at a time, {sweep.threads} thread{'s' * (sweep.threads > 1)} each"
    lines += [
        ("states", counts(status)),
        ("packs", f"{len(packs)} to send, {busy}" if packs else "nothing to send"),
        ("time", _time(left, bool(packs))),
        ("power", _power(len(sweep.blocks))),
    ]
    lines += [("note", note) for note in notes(status)]
    return "\n".join(f"{label:<10} {content}" for label, content in lines)


def status_json(study: Study, status: Status) -> dict[str, Any]:
    """Return the status: counts, and every trial with its state, error and final metrics."""
    return {
        "study": study.sweep.study,
        "counts": status.counts,
        "trials": [
            {
                "id": trial_id,
                "state": standing.state,
                "workload": standing.outcome.trial.workload.name,
                "candidate": standing.outcome.trial.candidate.name,
                "block": standing.outcome.trial.block,
                "attempts": standing.outcome.attempts,
                "error": standing.outcome.error,
                "metrics": dict(standing.outcome.metrics),
            }
            for trial_id, standing in status.planned.items()
        ],
    }


def status_text(study: Study, status: Status) -> str:
    """Return the counts, then a line a trial."""
    lines = [f"{study.sweep.study}: {counts(status)}"]
    lines += [trial_line(standing) for standing in status.planned.values()]
    return "\n".join([*lines, *notes(status)])


def trial_line(standing: Standing) -> str:
    """Return one trial: id, state, whose it is, and what came of it."""
    outcome = standing.outcome
    trial = outcome.trial
    reached = outcome.metrics.get("test_accuracy")
    said = outcome.error or ("" if reached is None else f"test accuracy {100 * reached:.2f} %")
    whose = f"{trial.workload.name} / {trial.candidate.name} / block {trial.block}"
    return f"{trial.id}  {standing.state:<11} {whose}  {said}".rstrip()


def counts(status: Status) -> str:
    """Return the trials by state in words."""
    return ", ".join(f"{count} {state}" for state, count in status.counts.items())


def notes(status: Status) -> list[str]:
    """Say where logs and jobs hold more than the sweep asks for."""
    said = []
    if status.unplanned:
        said.append(
            f"{len(status.unplanned)} recorded trials are not in this sweep: it was edited since; "
            "their results stay in the logs and out of the comparison"
        )
    if status.strays:
        said.append(
            f"{status.strays} trials that this sweep does not ask for are still with living jobs: "
            "cancel, then submit, to be rid of them"
        )
    return said


def _time(left: Estimate, anything: bool) -> str:
    if not anything:
        return "nothing left to do"
    if left.seconds is None:
        return "not known before a trial of this workload has ended"
    basis = "by the trials that have ended" if left.measured else "a rough guess until one ended"
    return f"about {in_words(left.seconds)} ({basis})"


def _power(seeds: int) -> str:
    smallest = detectable(seeds)
    if smallest is None:
        return "one seed gives no interval: use two at least, five or more for an answer"
    return (
        f"{seeds} seeds find, 4 times in 5, a difference of {smallest:.2f} sd of the paired "
        "differences on one workload"
    )
