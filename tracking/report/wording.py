"""The words and numbers of an answer, alike on the terminal, in Markdown and in HTML.

Never "significant", never "equal", never a claim about other data sets. Percentage points have
two digits, plain units as many as are significant; a dash stands for a number that does not
exist. Lays out no page.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.contract.failures import hide_varying
from jobs.contract.quantities import plural, quantity
from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.blocks import Incomplete
from tracking.compare.result import EXPLORATORY, Comparison, Difference
from tracking.metric import PP
from tracking.questions.analysis import Question
from tracking.questions.endpoint import LOG_FACTOR, Endpoint
from tracking.questions.units import TOO_FEW_UNITS
from tracking.stats.signed_rank import PseudoMedian
from tracking.stats.t_tests import Estimate, Superiority
from tracking.stats.win_probability import WinProbability

_SMALLEST_P = 1e-9  # below, the tail of a distribution is no longer that of any data
_NAMED = 5  # names in one sentence
_HUGE = 1e9  # from here on, as of a loss that explodes, digits would say nothing
_DASH = "–"  # noqa: RUF001 - a dash on purpose


def signed(value: float | None, unit: str = PP) -> str:
    """Format a difference with its sign: two decimals in points, else three digits.

    A logarithm is printed as the factor that it is of.
    """
    if value is None:
        return _DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == LOG_FACTOR:
        return f"{math.exp(value):.3g}x"
    if abs(value) >= _HUGE:
        return f"{value:+.3g}"
    return f"{value:+.{2 if unit == PP else _decimals(value, 3)}f}"


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with so many decimals; None is a dash."""
    if value is None:
        return _DASH
    return f"{value:.4g}" if abs(value) >= _HUGE else f"{value:.{digits}f}"


def level(value: float | None, spec: MetricSpec) -> str:
    """Format a score: in percent, or in the unit of its metric."""
    is_plain = value is not None and spec.unit == "plain"
    return number(value, _decimals(value, 4) if is_plain and value is not None else 2)


def spell_score(value: float | None) -> str:
    """Format a score of any metric with four digits."""
    return number(value, 2 if value is None else _decimals(value, 4))


def size(value: float | None, unit: str = PP) -> str:
    """Format the size of a difference, which has no sign."""
    if unit == LOG_FACTOR and value is not None:
        return signed(value, unit)
    return number(value, 2 if unit == PP or value is None else _decimals(value, 3))


def within(margin: float | None, unit: str) -> str:
    """Format a margin of equivalence; that of a factor goes both ways."""
    if unit == LOG_FACTOR and margin is not None:
        return f"a factor of {math.exp(margin):.3g}"
    return f"±{margin:g}{suffix(unit)}"


def suffix(unit: str) -> str:
    """Return what follows a difference: a plain unit has no name of its own."""
    return " pp" if unit == PP else ""


def p_value(p: float | None, least: float = 0.001) -> str:
    """Format a p-value with as many digits as are of use, those below `least` as below it.

    Every p-value that is printed is formatted here, and so is none as 0.00.
    """
    if p is None:
        return number(None)
    if p < least:
        return f"<{least:g}"
    return f"{p:.2g}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def small_p(p: float | None) -> str:
    """Format a p-value that stands beside small limits."""
    return p_value(p, _SMALLEST_P)


def p_relation(p: float | None) -> str:
    """Format a p-value as it follows its name in a sentence."""
    text = p_value(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def spell(value: Any) -> str:
    """Spell a setting as one writes it in a sweep: 3e-3, 0.1, true."""
    if not isinstance(value, float):
        return value if isinstance(value, str) else json.dumps(value)
    if value and not 0.01 <= abs(value) < 10_000:
        digits, _, exponent = f"{value:.3g}".partition("e")
        if not exponent:
            digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"


def confidence(comparison: Comparison) -> str:
    """Name the intervals of differences by their level: 95% CI."""
    return f"{100 * comparison.level:g}% CI"


def share_of_wins(wins: WinProbability) -> str:
    """Format how often a candidate wins, with the interval of that."""
    return f"{100 * wins.probability:.0f}% [{100 * wins.low:.0f}%, {100 * wins.high:.0f}%]"


def interval(estimate: Estimate, unit: str = PP) -> str:
    """Format an interval; empty if there is none."""
    if estimate.low is None:
        return ""
    end = ")" if estimate.high == math.inf else "]"
    return f"[{signed(estimate.low, unit)}, {signed(estimate.high, unit)}{end}"


def difference(estimate: Estimate, unit: str = PP) -> str:
    """Format a mean difference, followed by its interval if there is one."""
    return f"{signed(estimate.mean, unit)} {interval(estimate, unit)}".rstrip()


def _decimals(value: float, significant: int) -> int:
    """Return how many decimals show this many significant digits, at most eight."""
    if value == 0 or not math.isfinite(value):
        return 2
    return min(8, max(0, significant - 1 - math.floor(math.log10(abs(value)))))


MEASURES: Mapping[str, str] = {
    "final_test_accuracy": "final test accuracy",
    "val_auc": "speed (AUC of validation accuracy)",
    "train_auc": "training-set speed (AUC of training accuracy)",
    "auc": "speed (AUC of accuracy)",
}


def measure(name: str) -> str:
    """Say what was measured, by the name of the measure or endpoint on record."""
    if " to " in name and name.startswith(("steps", "seconds")):
        return f"{name} (2x: in half of them)"
    return MEASURES.get(name, name)


def short_measure(name: str) -> str:
    """Say what was measured, without the explanation in parentheses."""
    return measure(name).partition(" (")[0]


def endpoint_name(comparison: Comparison, endpoint: Endpoint) -> str:
    """Name an endpoint by what it measures in this study."""
    measures = (one.measure for one in comparison.pooled if one.endpoint == endpoint)
    return short_measure(next(measures, endpoint.name))


def all_in_points(comparison: Comparison) -> bool:
    """Return True if every difference is in percentage points."""
    if not all(one.is_standard for one in comparison.endpoints):
        return all(one.unit == PP for one in comparison.by_workload)
    return all(workload.metric_spec.unit != "plain" for workload in comparison.workloads)


def pp_suffix(comparison: Comparison) -> str:
    """Return what a column of differences adds to its name: the unit, if all have it."""
    return ", pp" if all_in_points(comparison) else ""


def middle_interval(middle: PseudoMedian, unit: str) -> str:
    """Format the interval of a Hodges-Lehmann estimate, with a space before it, if bounded."""
    if middle.low == -math.inf:
        return ""
    return f" [{signed(middle.low, unit)}, {signed(middle.high, unit)}]"


def share_ahead(share: Superiority | None) -> str:
    """Format the probability that the candidate is ahead, with its interval."""
    if share is None:
        return number(None)
    return f"{share.probability:.2f} [{share.low:.2f}, {share.high:.2f}]"


def column(comparison: Comparison, endpoint: Endpoint) -> str:
    """Name a column of an endpoint, with the unit if it is that of all workloads."""
    names = {
        one.metric_spec.final_metric or one.metric_spec.metric for one in comparison.workloads
    }
    if not endpoint.is_standard:
        name = endpoint.name
    elif endpoint.measure == "auc":
        name = "AUC"
    elif not comparison.names_metrics:
        name = "test accuracy"
    else:
        name = names.pop() if len(names) == 1 else "final score"
    return name + pp_suffix(comparison)


def title(question: Question) -> str:
    """Name a question by its two candidates."""
    return f"{question.candidate} vs {question.baseline}"


def scope(one: Difference, comparison: Comparison) -> str:
    """Name the workload, or how many are pooled."""
    if one.workload is not None:
        return one.workload
    if len(comparison.workloads) == 1:
        return comparison.workloads[0].name
    if len(one.workloads) < one.workloads_asked:
        return f"pooled ({len(one.workloads)} of {one.workloads_asked})"
    return f"pooled ({len(one.workloads)})"


def marks(one: Difference, comparison: Comparison) -> list[str]:
    """Return what is said in the same breath as a word: exploratory, unpaired, untuned."""
    named = [EXPLORATORY] if EXPLORATORY in one.flags and not comparison.exploratory else []
    named += ["unpaired"] * (one.arms is not None)
    return named + ["untuned"] * bool(comparison.untuned_in(one.question))


def verdict_words(one: Difference, comparison: Comparison) -> str:
    """Return the verdict with its most pressing flags; a dash while the question is open."""
    if one.verdict is None:
        return _DASH
    urgent = [str(flag) for flag in ("collapse", "no spread") if flag in one.flags][:1]
    if TOO_FEW_UNITS in one.flags and one.verdict == "undecided":
        urgent = [f"too few {plural(unit_noun(comparison, one.question))}"]
    marked = ", ".join([*urgent, *marks(one, comparison)])
    return one.verdict + (f" ({marked})" if marked else "")


def unit_noun(comparison: Comparison, question: Question) -> str:
    """Name what the answers of a question count: searches, seeds if nothing is tuned, or runs."""
    if not comparison.is_paired:
        return "run"
    return "search" if comparison.units.noun(question) == "search" else "seed"


def claim(comparison: Comparison) -> str:
    """Say what the verdicts are about: these workloads, with new seeds."""
    names = [workload.name for workload in comparison.workloads]
    over = ""
    if len(names) > 1:
        over = f"the plain average over {quantity(len(names), 'workload')}: "
    return f"About these {kind(comparison)}, with new seeds ({over}{some(names)})."


def some(names: Sequence[str]) -> str:
    """List names, five at the most, and count the others: a table has them all."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def kind(comparison: Comparison) -> str:
    """Name what the study compares on: workloads, or data sets if all are images."""
    return "workloads" if comparison.any_of_user else "data sets"


def units(comparison: Comparison) -> str:
    """Say in what unit differences are, and what a positive one means."""
    text = "Candidate minus baseline, in percentage points"
    if not all_in_points(comparison):
        text += " (pp) or in the metric's own unit"
    without = [
        short_measure(one.measure)
        for one in comparison.by_workload
        if comparison.margin(one) is None
    ]
    if without:
        text += (
            f", and nothing is called equivalent in {some(list(dict.fromkeys(without)))}: "
            f"±{comparison.rope_pp:g} pp is no margin there, and `analysis` declares none"
        )
    lower = [one for one in comparison.workloads if one.metric_spec.goal == "min"]
    if not lower:
        return f"{text}."
    named = ", ".join(f"{one.metric_spec.metric} of {one.name}" for one in lower)
    return (
        f"{text}. Lower is better in {named}: these differences are turned around, so that a "
        "positive one always means that the candidate is ahead."
    )


def list_incomplete(blocks: Sequence[Incomplete]) -> list[tuple[str, str, str]]:
    """Return workloads, blocks and what is missing there, a row for each reason.

    Reasons that differ in numbers and paths alone are one, shown by the first of them. A row of
    fewer trials than its workloads, blocks and candidates make says how many.
    """
    reasons: dict[str, str] = {}
    by_reason: dict[str, list[tuple[str, int, str]]] = {}
    for block in blocks:
        for candidate, why in block.reasons:
            reason = hide_varying(why)
            reasons.setdefault(reason, why)
            by_reason.setdefault(reason, []).append((block.workload, block.block, candidate))
    rows = []
    for reason, cells in by_reason.items():
        workloads, numbers, candidates = (
            list(dict.fromkeys(part)) for part in zip(*cells, strict=True)
        )
        missing = f"{some(candidates)} {reasons[reason]}"
        if len(cells) < len(workloads) * len(numbers) * len(candidates):
            missing += f", {quantity(len(cells), 'trial')} in all"
        rows.append((some(workloads), _ranges(sorted(numbers)), missing))
    return rows


def _ranges(numbers: Sequence[int]) -> str:
    """Write whole numbers in rising order: 0-4, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def no_question(comparison: Comparison) -> str:
    """Say that the study asks no question, and how to ask one."""
    names = comparison.candidates or ("NAME",)
    return (
        "No verdict: the sweep declares no question. Declare one in the sweep file, for example "
        f"`baseline: {names[-1]}` (everyone against it) or "
        f"`compare: {{candidate: {names[0]}, against: [{names[-1]}]}}`."
    )


def family(comparison: Comparison) -> str:
    """Say what is controlled together, at what level, and what is apart from it."""
    questions = len({one.question for one in comparison.confirmatory})
    endpoints = len({one.endpoint for one in comparison.confirmatory})
    over_looks = "" if comparison.looks is None else ", whenever the looks stop it"
    of = "Of studies like this one, at most"
    answers = "the pooled answers" if len(comparison.workloads) > 1 else "these answers"
    means = comparison.primary == "mean"
    words = "better or worse" if means else "wins more or less often"
    if comparison.exploratory:
        of = "Of studies that have declared just this beforehand, at most"
    text = (
        f"{of} {100 * comparison.alpha:g}% say {words} "
        f"wrongly anywhere in {answers}{over_looks}: p-values are adjusted by Holm over "
        f"{quantity(comparison.family, 'test')} ({quantity(questions, 'question')}, "
        f"{quantity(endpoints, 'endpoint')})"
    )
    if comparison.unanswered:
        text += f", {comparison.unanswered} of them without an answer"
    apart = _families_apart(comparison)
    if apart:
        text += f". Apart, each a family of its own at that level: {', '.join(apart)}"
    return (
        f"{text}. Every interval is at {100 * comparison.level:g}% for its own row. Rare but far "
        "worse results of one candidate, a strong skew, break this: `docs/error-rates.md` says by "
        "how much."
    )


def _families_apart(comparison: Comparison) -> list[str]:
    """Name the families of tests beside the one of the pooled answers."""
    tests = f"single workloads ({quantity(len(comparison.by_workload), 'test')})"
    families = {
        tests: len(comparison.workloads) > 1,
        "time to target": bool(comparison.time_to_target.speedups),
        "failures": any(one.word != "none" for one in comparison.divergence),
        f"{kind(comparison)} like these": any(
            one.word != "not claimable" for one in comparison.across_datasets
        ),
    }
    return [name for name, is_there in families.items() if is_there]


def ranges(numbers: Iterable[int]) -> str:
    """Format whole numbers as ranges: 0-4, 7."""
    runs: list[list[int]] = []
    for one in sorted(numbers):
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
