"""The words and numbers of an answer, alike on the terminal, in Markdown and in HTML.

Never "significant", never "equal", never a claim about other data sets. Lays out no page.
"""

from collections.abc import Mapping

from tracking.blocks import Incomplete
from tracking.comparison import Comparison, Difference, Question
from tracking.endpoints import ENDPOINTS
from tracking.estimates import Estimate

MEASURES: Mapping[str, str] = {
    "final_test_accuracy": "final test accuracy",
    "val_auc": "speed (AUC of validation accuracy)",
    "train_auc": "training-set speed (AUC of training accuracy)",
    "auc": "speed (AUC of accuracy)",
}

FLAGS: Mapping[str, str] = {
    "collapse": "At least one trial diverged. It counts with chance accuracy; means are fragile "
    "then, so see also the medians and the answer without the blocks concerned.",
    "rests on collapse": "The difference rests on diverged trials: without their blocks it is not "
    "upheld, so it is called undecided.",
    "data": "Some blocks were trained on other data than the first one of their workload.",
    "code": "Some blocks mix versions of the training code.",
    "device": "Some blocks mix device types, so their arithmetic is not alike.",
    "nondeterministic": "Some trial gave two values for one step when it was resumed.",
    "no spread": "On some workload all differences have one value other than zero: nothing there "
    "estimates the error.",
    "partial": "Workloads with fewer than two complete blocks are not in the pooled answer.",
    "mixed tracks": "Workloads with and without held-out validation data are pooled.",
}


def signed(value: float | None, digits: int = 2) -> str:
    """Format a difference, with its sign; a dash where there is none."""
    return "–" if value is None else f"{value:+.{digits}f}"  # noqa: RUF001 - a dash on purpose


def number(value: float | None, digits: int = 2) -> str:
    """Format a number; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a dash on purpose


def p_value(p: float | None) -> str:
    """Format a p-value to what anybody can use."""
    if p is None:
        return number(None)
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(estimate: Estimate) -> str:
    """Format a 95% interval; empty where there is none."""
    return "" if estimate.low is None else f"[{signed(estimate.low)}, {signed(estimate.high)}]"


def title(question: Question) -> str:
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


def verdict_words(one: Difference) -> str:
    """Return the verdict with its most pressing flag."""
    urgent = [flag for flag in ("collapse", "no spread") if flag in one.flags]
    return one.verdict + (f" ({urgent[0]})" if urgent else "")


def sentence(one: Difference, comparison: Comparison) -> str:
    """Say what was found for one endpoint, how sure it is, and what could have been found."""
    estimate = one.estimate
    head = f"{one.verdict} in {MEASURES[one.measure]}"
    if estimate.kind == "undefined":
        return f"{head}: every workload has fewer than two complete blocks."
    if estimate.kind == "identical":
        return f"{head}: all {estimate.n} differences are exactly zero, so there is no p-value."
    if estimate.kind == "degenerate":
        return (
            f"{head}: {signed(estimate.mean)} pp, but the {estimate.n} differences have no spread "
            "that would estimate the error; more seeds are needed."
        )
    said = (
        f"{head}: {signed(estimate.mean)} pp, 95% CI {interval(estimate)}, "
        f"Holm p {_relation(one.p_adjusted)}, {estimate.n} pairs."
    )
    if one.verdict == "equivalent":
        return (
            f"{said} Within ±{comparison.rope_pp:g} pp by two one-sided tests, which ask the 90% "
            f"interval to lie inside, Holm p {_relation(one.equivalence_p)}."
        )
    if one.verdict == "undecided" and "rests on collapse" in one.flags:
        return f"{said} {FLAGS['rests on collapse']}"
    if one.verdict == "undecided":
        return (
            f"{said} Not resolvable at this n: with this spread, a true difference of "
            f"{number(one.smallest_detectable)} pp is the smallest that would be found with "
            "80% power."
        )
    return said


def claim(comparison: Comparison) -> str:
    """Say what the answers are about, and what they are not."""
    names = [workload.name for workload in comparison.workloads]
    over = f"macro-average over {_count(len(names), 'workload')}: " if len(names) > 1 else ""
    return (
        f"About these data sets, with new seeds ({over}{', '.join(names)}). "
        "Nothing is claimed about other data sets."
    )


def caveats(comparison: Comparison) -> list[str]:
    """List what a reader must know before believing the answers, most pressing first."""
    said = []
    if comparison.open_trials:
        said.append(
            f"Interim: {comparison.open_trials} of {_count(comparison.trials, 'trial')} still "
            "without an end. The p-values hold once the planned seeds are in; stopping as soon as "
            "one looks good finds differences that are not there."
        )
    if comparison.incomplete:
        said.append(
            f"{_count(len(comparison.incomplete), 'block')} incomplete and left out of the "
            "questions that need the missing trials."
        )
    for workload in comparison.workloads:
        if not workload.held_out:
            steps = "" if workload.steps is None else f"{workload.steps}-step "
            said.append(
                f"{workload.name}: {steps}training-set speed, no held-out validation data."
            )
    raised = {flag for one in (*comparison.pooled, *comparison.by_workload) for flag in one.flags}
    return said + [text for flag, text in FLAGS.items() if flag in raised]


def incomplete(block: Incomplete) -> str:
    """Name a block and what is missing there."""
    reasons = ", ".join(f"{candidate} {why}" for candidate, why in block.reasons)
    return f"{block.workload}, block {block.block}: {reasons}"


def no_question(comparison: Comparison) -> str:
    """Say how to ask one."""
    names = comparison.candidates or ("NAME",)
    return (
        "No verdict: the sweep declares no question. Declare one in the sweep file, for example "
        f"`baseline: {names[-1]}` (everyone against it) or "
        f"`compare: {{candidate: {names[0]}, against: [{names[-1]}]}}`."
    )


def family(comparison: Comparison) -> str:
    """Say how the p-values are adjusted."""
    pooled = (
        f"Adjusted p: Holm over {comparison.family} tests "
        f"({_count(len(comparison.questions), 'question')}, {len(ENDPOINTS)} endpoints)"
    )
    if len(comparison.workloads) > 1:
        pooled += (
            "; single workloads are exploratory: Benjamini-Hochberg over "
            f"{len(comparison.by_workload)} tests"
        )
    return f"{pooled}. Intervals are for one row each, at 95%."


def _relation(p: float | None) -> str:
    text = p_value(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
