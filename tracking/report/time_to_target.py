"""Time to target in words and tables: a secondary endpoint, and said to be one.

The share of runs that have reached their target by a step, one panel a workload, as SVG text.

One minus the Kaplan-Meier estimate. Shows what `time_to_target` found.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from tracking.compare.analysis import Question
from tracking.compare.result import Comparison
from tracking.compare.time_to_target import Arm, Speedup, speedup_factor
from tracking.report.plots import STYLE, LineStyle, add_legend, panel, to_svg
from tracking.report.tables import Table
from tracking.report.wording import level, number, p_relation, p_value, signed, title
from tracking.stats.survival import kaplan_meier
from tracking.stats.t_tests import Estimate


def sentence(one: Speedup) -> str:
    """Say by what factor fewer steps were needed over all workloads with a target."""
    head = f"{one.word} to the target (secondary, in steps)"
    reached = (
        f"reached by {one.candidate_reached} of {one.n} trials against {one.baseline_reached}"
    )
    if one.n == 0:
        return f"{head}: no block has both trials."
    if one.candidate_reached == one.baseline_reached == 0:
        return f"{head}: no trial of either reached it."
    if one.log_ratio.kind == "identical":
        return f"{head}: {reached}, at the same steps in every block."
    if one.factor is None or one.log_ratio.kind != "estimated":
        return f"{head}: {reached}; nothing estimates the error of the factor."
    factor, low, high = one.factor
    said = f"{head}: {factor:.2f} times as fast"
    if low is not None and high is not None:
        said += f", 95% CI [{low:.2f}, {high:.2f}]"
    if one.p_adjusted is not None:
        said += f", Holm p {p_relation(one.p_adjusted)}"
    return f"{said}, {reached}."


def pooled_speedup(comparison: Comparison, question: Question) -> Speedup | None:
    """Return the answer over all workloads with a target, where there is one."""
    return next(iter(comparison.time_to_target.answers(question)), None)


def answers(comparison: Comparison, question: Question) -> Table:
    """The answers of one question: over all workloads with a target, then one by one."""
    rows = comparison.time_to_target.answers(question)
    if len(rows) == 2:
        rows = rows[:1]  # of one workload: the pooled answer is its own
    names = [arm.workload for arm in comparison.time_to_target.arms]
    return Table(
        caption=title(question),
        header=(
            "data",
            "reached: candidate, baseline",
            "times as fast [95% CI]",
            "p",
            "p adj.",
            "verdict",
            "two in a row",
            "steps saved [95% CI]",
            "log-rank p, unpaired",
        ),
        rows=tuple(_answer(one, names) for one in rows),
    )


def arms(comparison: Comparison) -> Table:
    """Every candidate on every workload with a target."""
    return Table(
        caption="Steps to the target",
        header=(
            "workload",
            "candidate",
            "target",
            "reached",
            "median steps",
            "restricted mean (s.e.)",
            "of",
            "steps per success",
        ),
        rows=tuple(_arm(one, target(one, comparison)) for one in comparison.time_to_target.arms),
    )


def problems(comparison: Comparison) -> Table:
    """The trials that have no time to target, with why."""
    return Table(
        caption="Without a time to target",
        header=("workload", "block", "candidate", "why"),
        rows=tuple(
            (workload, str(block), candidate, why)
            for workload, candidate, block, why in comparison.time_to_target.problems
        ),
    )


def _answer(one: Speedup, names: list[str]) -> tuple[str, ...]:
    unique = list(dict.fromkeys(names))
    pooled_name = unique[0] if len(unique) == 1 else f"pooled ({len(unique)})"
    saved = one.saved
    return (
        one.workload or pooled_name,
        f"{one.candidate_reached}, {one.baseline_reached} of {one.n}",
        _factor(one.log_ratio),
        p_value(one.log_ratio.p),
        p_value(one.p_adjusted),
        one.word,
        _factor(one.confirmed),
        number(None) if saved is None or saved.mean is None else _steps(saved),
        p_value(one.log_rank_p),
    )


def _factor(estimate: Estimate) -> str:
    found = speedup_factor(estimate)
    if found is None:
        return number(None)
    factor, low, high = found
    return f"{factor:.2f}" if low is None else f"{factor:.2f} [{low:.2f}, {high:.2f}]"


def _steps(saved: Estimate) -> str:
    said = signed(saved.mean, "steps")
    if saved.low is None:
        return said
    return f"{said} [{signed(saved.low, 'steps')}, {signed(saved.high, 'steps')}]"


def target(arm: Arm, comparison: Comparison) -> str:
    """Spell the target of a workload: in percent, or in the unit of its metric."""
    reading = next(one.metric_spec for one in comparison.workloads if one.name == arm.workload)
    if reading.unit == "plain":
        return f"{level(arm.target, reading)} {reading.metric}"
    return f"{level(arm.target * (100 if reading.unit == 'fraction' else 1), reading)} %"


def _arm(one: Arm, target: str) -> tuple[str, ...]:
    return (
        one.workload,
        one.candidate,
        target,
        f"{one.reached} of {len(one.times)}",
        "not reached by half" if one.median is None else f"{one.median:.0f}",
        f"{one.restricted_mean:.1f} ({one.restricted_mean_se:.1f})",
        str(one.horizon),
        number(one.steps_per_success, 0),
    )


@mpl.rc_context(STYLE)
def reach_curve(arms: Sequence[Arm], target: str, styles: Mapping[str, LineStyle]) -> str:
    """Draw the arms of one workload; `target` is its target in words.

    A bar at the end of a line marks runs that have not reached the target when their budget ends.
    """
    workload = arms[0].workload
    labels = [f"{arm.candidate} ({arm.reached} of {len(arm.times)})" for arm in arms]
    figure, axes = panel(workload, "steps", f"reached {target}, % of runs")
    for arm, label in zip(arms, labels, strict=True):
        style = styles[arm.candidate]
        times = [arm.horizon if step is None else step for _, step in arm.times]
        curve = kaplan_meier(times, [step is not None for _, step in arm.times])
        x = np.concatenate([[0], curve.times, [arm.horizon]])
        share = 100 * (1 - np.concatenate([[1.0], curve.survival, curve.survival[-1:]]))
        share = share if len(curve.times) else np.zeros(2)
        axes.plot(
            x,
            share,
            drawstyle="steps-post",
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
            label=label,
        )
        if arm.reached < len(arm.times):
            axes.plot(arm.horizon, share[-1], "|", color=style.colour, markersize=9)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)
    axes.set_ylim(-3, 103)
    add_legend(figure)
    names = ", ".join(f"{arm.candidate} {arm.reached} of {len(arm.times)}" for arm in arms)
    described = f"Share of runs on {workload} that reached {target} by a step: {names}"
    return to_svg(figure, f"{workload}/reached", described)
