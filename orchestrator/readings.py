"""What trials have reached, in words: each in the unit that its workload declares."""

from tracking.outcomes import Outcome


def current(outcome: Outcome) -> str | None:
    """Return the last value of the curve's metric, None before one."""
    name = outcome.trial.workload.read_as.metric
    values = [point.metrics[name] for point in outcome.curve if name in point.metrics]
    return in_unit(outcome, values[-1]) if values else None


def final(outcome: Outcome) -> str | None:
    """Return the final metric with its name, or where it ended early; None where there is none."""
    if outcome.rung is not None:
        return f"ended early, at {outcome.trial.workload.unit} {outcome.rung}"
    reading = outcome.trial.workload.read_as
    name = reading.final_metric or reading.metric
    if name not in outcome.metrics:
        return None
    label = name.replace("_", " ")
    return f"{label} {in_unit(outcome, outcome.metrics[name], digits=2)}"


def in_unit(outcome: Outcome, value: float, digits: int = 1) -> str:
    """Write a value: fractions and percentages as such, anything else as a plain number."""
    unit = outcome.trial.workload.read_as.unit
    if unit == "plain":
        return f"{value:.4g}"
    return f"{100 * value if unit == 'fraction' else value:.{digits}f} %"
