"""The section on time to target: sentences, tables, and the share of runs that have reached it.

It is a secondary endpoint, and called so unless the verdicts are about it. The share is one minus
the Kaplan-Meier estimate. Decides nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tracking.compare.result import Comparison
from tracking.compare.time_to_target import Arm, Speedup, speedup_factor
from tracking.metric import Scale
from tracking.questions.analysis import Question
from tracking.questions.endpoint import TO_OWN_TARGET
from tracking.questions.units import LOST_BASELINE, LOST_CANDIDATE, TOO_FEW_UNITS
from tracking.report.figures.plots import (
    LineStyle,
    add_legend,
    count_from_zero,
    panel,
    plot_style,
    to_svg,
)
from tracking.report.tables import Table
from tracking.report.wording import (
    confidence,
    difference,
    level,
    number,
    p_relation,
    p_value,
    title,
)
from tracking.stats.survival import kaplan_meier
from tracking.stats.t_tests import Estimate


def is_secondary(comparison: Comparison) -> bool:
    """Return False if the verdicts themselves are about the steps to the declared target."""
    return TO_OWN_TARGET.name not in (one.name for one in comparison.endpoints)


def sentence(one: Speedup, comparison: Comparison) -> str:
    """Say by what factor fewer steps were needed over all workloads with a target."""
    if one.word == "not reached":
        return (
            "not reached by any trial of either: the target (secondary, in steps), so nothing is "
            "tested."
        )
    of = "to" if one.word in ("faster", "slower") else "in steps to"
    head = f"{one.word} {of} the target (secondary)"
    if one.trials == 0:
        return f"{head}: no block has the learning curves of both trials."
    reached = f"{one.candidate_reached} of {one.trials} trials reached it against "
    reached += str(one.baseline_reached)
    if one.log_ratio.kind == "identical":
        return f"{head}: {reached}, at the same steps in every block."
    if one.factor is None or one.log_ratio.kind != "estimated":
        return f"{head}: {reached}; nothing estimates the error of the factor."
    factor, low, high = one.factor
    text = f"{head}: {_bound(one)}{factor:.2f} times as fast"
    if low is not None and high is not None:
        text += f", {confidence(comparison)} [{low:.2f}, {high:.2f}]"
    if one.p_adjusted is not None:
        text += f", adjusted p {p_relation(one.p_adjusted)}"
    text += f"; {reached}."
    if one.bound is not None:
        text += " Trials that did not reach it count with their whole budget."
    if one.word == "undecided":
        text += "".join(f" {_BARS[flag]}" for flag in one.flags if flag in _BARS)
        if (one.bound == "at most" and factor > 1) or (one.bound == "at least" and factor < 1):
            text += " Who reached it less often is not called faster."
    return text


_BARS: Mapping[str, str] = {
    TOO_FEW_UNITS: "A word needs five seeds (or searches) in all, and three on each workload.",
    LOST_CANDIDATE: "Trials of the candidate were lost by its own doing, or their curves end "
    "early, so it is not called faster.",
    LOST_BASELINE: "Trials of the baseline were lost by its own doing, or their curves end "
    "early, so it is not called faster.",
}


def _bound(one: Speedup) -> str:
    return "" if one.bound is None else f"{one.bound} "


def answers(comparison: Comparison, question: Question) -> Table:
    """Return the answers of one question: over all workloads with a target, then one by one."""
    rows = comparison.time_to_target.answers(question)
    if len(rows) == 2:
        rows = rows[:1]  # of one workload: the pooled answer is its own
    names = list(dict.fromkeys(arm.workload for arm in comparison.time_to_target.arms))
    pooled_name = names[0] if len(names) == 1 else f"pooled ({len(names)})"
    return Table.of(
        title(question),
        [
            {
                "data": one.workload or pooled_name,
                "reached: candidate, baseline": (
                    f"{one.candidate_reached}, {one.baseline_reached} of {one.trials}"
                ),
                f"times as fast [{confidence(comparison)}]": _bound(one) + _factor(one.log_ratio),
                "p": p_value(one.p_valid),
                "p adj.": p_value(one.p_adjusted),
                "verdict": one.word,
                "two in a row": _factor(one.confirmed),
                f"steps saved [{confidence(comparison)}]": (
                    number(None) if one.saved is None else difference(one.saved, "steps")
                ),
                "log-rank p, unpaired": p_value(one.log_rank_p),
            }
            for one in rows
        ],
    )


def arms(comparison: Comparison) -> Table:
    """Return how every candidate fared on every workload with a target."""
    return Table.of(
        "Steps to the target",
        [
            {
                "workload": one.workload,
                "candidate": one.candidate,
                "target": _target(one, comparison),
                "reached": f"{one.reached} of {len(one.times)}",
                "median steps": (
                    "not reached by half" if one.median is None else f"{one.median:.0f}"
                ),
                **_restricted_mean(one, comparison.any_open),
                "of": str(one.horizon),
                "steps per success": number(one.steps_per_success, 0),
            }
            for one in comparison.time_to_target.arms
        ],
    )


def _restricted_mean(one: Arm, is_open: bool) -> Mapping[str, str]:
    """Return the restricted mean, and its error unless answers are still to come."""
    if is_open:
        return {"restricted mean": f"{one.restricted_mean:.1f}"}
    text = f"{one.restricted_mean:.1f} ({one.restricted_mean_se:.1f})"
    return {"restricted mean (s.e.)": text}


def _factor(log_ratio: Estimate) -> str:
    speedup = speedup_factor(log_ratio)
    if speedup is None:
        return number(None)
    factor, low, high = speedup
    return f"{factor:.2f}" if low is None else f"{factor:.2f} [{low:.2f}, {high:.2f}]"


def _target(arm: Arm, comparison: Comparison) -> str:
    """Spell the target of a workload: in percent, or in the unit of its metric."""
    spec = next(one.metric_spec for one in comparison.workloads if one.name == arm.workload)
    unit = spec.metric if spec.unit == "plain" else "%"
    return f"{level(arm.target * Scale.of(spec).factor, spec)} {unit}"


def draw(comparison: Comparison, styles: Mapping[str, LineStyle]) -> list[str]:
    """Return a panel for each workload with a target, as SVG text."""
    by_workload: dict[str, list[Arm]] = {}
    for arm in comparison.time_to_target.arms:
        by_workload.setdefault(arm.workload, []).append(arm)
    return [
        _share_reached(arms, _target(arms[0], comparison), styles) for arms in by_workload.values()
    ]


@plot_style()
def _share_reached(arms: Sequence[Arm], target: str, styles: Mapping[str, LineStyle]) -> str:
    """Draw the arms of one workload; `target` is its target in words.

    A bar at the end of a line marks runs that have not reached the target when their budget ends.
    """
    workload = arms[0].workload
    figure, axes = panel(workload, "steps", f"reached {target}, % of runs")
    for arm in arms:
        style = styles[arm.candidate]
        times = [arm.horizon if step is None else step for _, step in arm.times]
        curve = kaplan_meier(times, [step is not None for _, step in arm.times])
        survival = np.array([1.0, *curve.survival])
        share = 100 * (1 - np.append(survival, survival[-1]))
        steps = [0, *curve.times, arm.horizon]
        label = f"{arm.candidate} ({arm.reached} of {len(arm.times)})"
        axes.step(steps, share, where="post", linewidth=1.8, label=label, **style)
        if arm.reached < len(arm.times):
            axes.plot(arm.horizon, share[-1], "|", color=style["color"], markersize=9)
    count_from_zero(axes)
    axes.set_ylim(-3, 103)
    add_legend(figure)
    names = ", ".join(f"{arm.candidate} {arm.reached} of {len(arm.times)}" for arm in arms)
    described = f"Share of runs on {workload} that reached {target} by a step: {names}"
    return to_svg(figure, f"{workload}/reached", described)
