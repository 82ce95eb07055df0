"""The sentence of one answer: the word, the number, how sure it is, and why it is not more.

The same on the page and on the terminal; decides nothing.
"""

from jobs.contract.quantities import plural, quantity
from tracking.compare.blocks import UNLIKE_MACHINES
from tracking.compare.result import EXPLORATORY, Comparison, Difference
from tracking.questions.endpoint import LOG_FACTOR
from tracking.questions.units import (
    FAILED_SINCE,
    FEWER_OF_BASELINE,
    FEWER_OF_CANDIDATE,
    LOST_BASELINE,
    LOST_CANDIDATE,
    TOO_FEW_UNITS,
)
from tracking.report.caveats import FLAGS
from tracking.report.wording import (
    confidence,
    interval,
    marks,
    measure,
    p_relation,
    share_of_wins,
    signed,
    size,
    some,
    suffix,
    unit_noun,
    within,
)


def sentence(one: Difference, comparison: Comparison) -> str:
    """Say the verdict on one endpoint, how sure it is, and why it is not more."""
    marked = f" ({marked})" if (marked := ", ".join(marks(one, comparison))) else ""
    head = f"{one.verdict}{marked} in {measure(one.measure)}"
    if one.lower_is_better:
        head += " (lower is better; + means lower)"
    if comparison.primary == "win_probability":
        return f"{head}: {_wins(one, comparison)}"
    if "mixed units" in one.flags:
        return f"{head}: {FLAGS['mixed units'].replace('The', 'the', 1)}"
    estimate, unit = one.estimate, one.unit
    if estimate.kind == "undefined" and UNLIKE_MACHINES in one.flags:
        return (
            f"{head}: the trials of a block ran on unlike machines, and seconds are compared only "
            "between alike ones (device, its memory, packages)."
        )
    if one.no_value is not None and not one.endpoint.is_standard:
        return f"{head}: no trial has it: {one.no_value}."
    if estimate.kind == "undefined":
        return f"{head}: {_why_undefined(one)}"
    if estimate.kind == "identical":
        equal = f"all {estimate.n} differences are exactly zero"
        if one.arms is not None:
            equal = f"{_runs(one.arms)}, and all have one value"
        return " ".join([f"{head}: {equal}, so there is no p-value.", *_at_target(one)])
    if estimate.kind == "degenerate":
        return (
            f"{head}: {signed(estimate.mean, unit)}{suffix(unit)}, {_without_spread(one)} have "
            "no spread that would estimate the error; more "
            f"{plural(unit_noun(comparison, one.question))} are needed."
        )
    parts = [f"{head}: {_numbers(one, comparison)}.", *_at_target(one)]
    parts += _exceptions(one, comparison)
    return " ".join([*parts, *_reasons(one, comparison), *_since(one)])


def _why_undefined(one: Difference) -> str:
    if one.arms is not None:
        return f"{_runs(one.arms)}, and a side of fewer than two has no spread."
    if "no AUC" in one.flags:
        return "fewer than two blocks have curves over the same steps."
    return "every workload has fewer than two complete blocks."


def _without_spread(one: Difference) -> str:
    if one.arms is not None:
        return f"by {_runs(one.arms)}, but the values of each side"
    return f"but the {one.estimate.n} differences"


def _numbers(one: Difference, comparison: Comparison) -> str:
    """Give the difference, its range over workloads, how sure it is, and what it rests on."""
    singles = _singles(one, comparison)
    text = f"{signed(one.estimate.mean, one.unit)}{suffix(one.unit)}"
    between = ", "
    if len(singles) > 1 and any(row.reached != one.reached for row in singles):
        singles = []  # of more or fewer seeds than this answer
        text += f" on average over {len(one.workloads)} workloads"
        between = "; "
    if len(singles) > 1:
        low, high = (
            pick(singles, key=lambda row: row.estimate.mean or 0.0) for pick in (min, max)
        )
        text += " on average, " + (
            "the same on each workload"
            if signed(low.estimate.mean, low.unit) == signed(high.estimate.mean, high.unit)
            else f"from {signed(low.estimate.mean, low.unit)} on {low.workload} "
            f"to {signed(high.estimate.mean, high.unit)} on {high.workload}"
        )
        between = "; "
    if one.estimate.low is not None:
        text += f"{between}{confidence(comparison)} {interval(one.estimate, one.unit)}"
        between = ", "
    if one.p_adjusted is not None:
        text += f"{between}adjusted p {p_relation(one.p_adjusted)}"
    return f"{text}, {_basis(one, singles, comparison)}"


def _at_target(one: Difference) -> list[str]:
    """Say how many trials have reached the target that they were timed to."""
    if one.at_target is None:
        return []
    candidate, baseline, trials = one.at_target
    text = f"{candidate} of {trials} trials reached it against {baseline}"
    if min(candidate, baseline) < trials:
        text += "; those that did not count with their whole budget"
    return [f"{text}."]


def _runs(arms: tuple[int, int]) -> str:
    return f"{quantity(arms[0], 'run')} against {arms[1]}"


def _since(one: Difference) -> list[str]:
    """Say that trials have failed since an answer was decided, if any have."""
    if FAILED_SINCE not in one.flags:
        return []
    text = "At later looks trials diverged or were lost by what training can cause: this was "
    return [text + "decided without them, so weigh it with the failures."]


def _wins(one: Difference, comparison: Comparison) -> str:
    """Say how often the candidate wins, how sure that is, and why it is not more."""
    wins, noun = one.wins, unit_noun(comparison, one.question)
    if wins is None:
        return "no block has a result of both."
    if wins.p is None:
        return f"all {quantity(wins.n, noun)} are tied."
    text = (
        f"{wins.won} won, {wins.lost} lost, {wins.n - wins.won - wins.lost} tied of "
        f"{quantity(wins.n, noun)}: {share_of_wins(wins)}, a tie one half"
    )
    if one.p_adjusted is not None:
        text += f", adjusted p {p_relation(one.p_adjusted)}"
    if one.reached is not None:
        text += f", at look {one.reached.look} of {len(one.reached.seeds)}"
    text = " ".join([f"{text}.", *_exceptions(one, comparison), *_since(one)])
    text += " By how much is no part of this verdict."
    if one.verdict != "undecided":
        return text
    by_flag = _reasons_by_flag(one, comparison)
    reasons = [why for flag, why in by_flag.items() if flag in one.flags]
    if not reasons and wins.p <= comparison.alpha:
        reasons = [f"Taken alone this would count; adjusted for {_others(one, comparison)} not."]
    return " ".join([text, *(reasons or ["The data fit more wins than losses, and fewer."])])


def _exceptions(one: Difference, comparison: Comparison) -> list[str]:
    """Name the workloads whose own verdict is not that of the average."""
    singles = _singles(one, comparison)
    if len(singles) < 2:
        return []
    words = ("better", "worse", "wins more often", "wins less often")
    named = {
        word: [row.workload or "" for row in singles if row.verdict == word]
        for word in words
        if word != one.verdict
    }
    but = [f"{word} on {some(names)}" for word, names in named.items() if names]
    return [f"But {'; '.join(but)} (each taken alone)."] if but else []


def _singles(one: Difference, comparison: Comparison) -> list[Difference]:
    """Return the answers of the workloads that were pooled into an answer."""
    return [
        row
        for row in comparison.by_workload
        if (row.question, row.endpoint) == (one.question, one.endpoint)
        and row.workload in one.workloads
    ]


def _basis(one: Difference, singles: list[Difference], comparison: Comparison) -> str:
    """Say how many seeds or searches an answer rests on, and at which look of several."""
    if one.arms is not None:
        return f"{_runs(one.arms)}, without pairs (Welch's t test)"
    counts = [row.estimate.n for row in singles] or [one.estimate.n]
    noun = unit_noun(comparison, one.question)
    each = quantity(counts[0], noun)
    if min(counts) < max(counts):
        each = f"{min(counts)} to {quantity(max(counts), noun)}"
    text = each if len(counts) == 1 else f"{each} on each of {len(counts)} workloads"
    if not singles and len(one.workloads) > 1:
        text = f"{each} in all"
    is_tuned = {one.question.candidate, one.question.baseline} & comparison.units.tuned
    if is_tuned and comparison.tuning is not None and comparison.tuning.proxy is not None:
        text += ", tuned by proxy"
    if one.reached is not None and one.reached.look == 0:
        return f"{text} so far: before the first look is complete, nothing is decided"
    if one.reached is not None:
        text += f" at look {one.reached.look} of {len(one.reached.seeds)}"
    return text


def _reasons(one: Difference, comparison: Comparison) -> list[str]:
    """Say what a verdict means that is not plain, and why it is not more."""
    if one.verdict == "equivalent":
        margin = within(comparison.margin(one), one.unit)
        p = p_relation(one.equivalence_p)
        return [f"Surely within {margin} by two one-sided tests, adjusted p {p}."]
    if one.verdict != "undecided" or (one.reached is not None and one.reached.look == 0):
        if one.sensitivity is None or "sign-flip disagrees" not in one.flags:
            return []
        p = p_relation(one.sensitivity.sign_flip_p)
        text = f"The exact sign-flip test, which assumes no normal distribution, has p {p} before "
        return [text + "any adjustment and does not say so: see Sensitivity."]
    by_flag = _reasons_by_flag(one, comparison)
    reasons = [text for flag, text in by_flag.items() if flag in one.flags]
    if (behind := _reaches_less(one)) is not None:
        reasons.append(
            f"{behind} has reached the target in fewer trials: without a budget it may be behind."
        )
    if reasons:
        return reasons
    reasons = [_why_undecided(one, comparison)]
    if one.smallest_detectable is not None:
        nouns = plural(unit_noun(comparison, one.question))
        reasons.append(
            f"With this spread and so many {nouns}, a true difference of "
            f"{size(one.smallest_detectable, one.unit)}{suffix(one.unit)} is found with 80% power."
        )
    return reasons


def _reasons_by_flag(one: Difference, comparison: Comparison) -> dict[str, str]:
    """Return why a word is not said, by the flag that says so."""
    nouns = plural(unit_noun(comparison, one.question))
    lost = (
        "Trials of {0} ended without a result by what training can cause (an error, memory, a "
        "time limit, a value that is not logged or not finite), so {0} is called neither better "
        "nor equivalent."
    )
    return {
        TOO_FEW_UNITS: f"Too few {nouns} for a word: it takes five, and three on each workload.",
        LOST_CANDIDATE: lost.format(one.question.candidate),
        LOST_BASELINE: lost.format(one.question.baseline),
        "rests on collapse": FLAGS["rests on collapse"],
    }


def _reaches_less(one: Difference) -> str | None:
    """Return who of a question is ahead, and may not be for reaching its target less often."""
    is_ahead = (one.estimate.mean or 0.0) > 0
    flag = FEWER_OF_CANDIDATE if is_ahead else FEWER_OF_BASELINE
    name = one.question.candidate if is_ahead else one.question.baseline
    return name if flag in one.flags else None


def _why_undecided(one: Difference, comparison: Comparison) -> str:
    low, high, p = one.estimate.low, one.estimate.high, one.estimate.p
    if one.endpoint.one_sided and low is not None and low <= 0:
        return "Asked was only if it is better (one-sided), which the data do not show."
    if low is None or high is None or low <= 0 <= high or p is None or p > comparison.alpha:
        nothing = "1x" if one.unit == LOG_FACTOR else "0"
        return f"The interval holds {nothing}: the data fit a gain, a loss and no difference."
    return f"Taken alone this would count; adjusted for {_others(one, comparison)} it does not."


def _others(one: Difference, comparison: Comparison) -> str:
    if EXPLORATORY in one.flags:
        return "the other exploratory answers"
    return f"the {quantity(comparison.family, 'test')} of the study"
