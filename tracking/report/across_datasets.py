"""The words for answers about data sets like these, never mixed with those about these alone."""

from tracking.compare.result import AcrossDatasets, Comparison
from tracking.report.wording import kind, measure_words, p_relation, signed, suffix


def sentence(one: AcrossDatasets) -> str:
    """Say what was found over data sets, how sure it is; for an answer that could be claimed."""
    unit = one.unit
    counted = f"ahead on {one.ahead}, behind on {one.behind}"
    if one.tied:
        counted += f", level on {one.tied}"
    said = f"{one.word} in {measure_words(one.measure)}: {counted} of {len(one.means)} data sets"
    if one.middle is not None:
        interval = f"[{signed(one.middle.low, unit)}, {signed(one.middle.high, unit)}]"
        said += (
            f"; typical difference {signed(one.middle.estimate, unit)}{suffix(unit)}, "
            f"95% CI {interval}"
        )
    said += (
        f"; Holm p {p_relation(one.p_adjusted)}."
        if one.p_adjusted is not None
        else "; there is no p-value."
    )
    if "rests on collapse" in one.flags:
        said += " It rests on diverged trials, so it is called undecided."
    return said


def claimable(comparison: Comparison) -> tuple[AcrossDatasets, ...]:
    """Return the answers that this number of data sets can give."""
    return tuple(one for one in comparison.across_datasets if one.word != "not claimable")


def scope(comparison: Comparison) -> str:
    """Say what is, or why nothing can be, said of other data sets; empty without a question."""
    if not comparison.across_datasets:
        return ""
    first, what = comparison.across_datasets[0], kind(comparison)
    tests = f"{comparison.alpha:g} with Holm over {len(comparison.across_datasets)} tests"
    if claimable(comparison):
        return (
            f"On {what} like these: the exact Wilcoxon signed-rank test over the mean difference "
            f"of each, at {tests} of its own. It holds as far as these {what} are a fair sample "
            "of the ones that are meant."
        )
    if "mixed units" in first.flags:
        return (
            f"Nothing is claimed about other {what}: differences in unlike units or directions "
            "have no common ranks."
        )
    there = max(len(one.means) for one in comparison.across_datasets)
    return (
        f"Nothing is claimed about other {what}: there {'is' if there == 1 else 'are'} {there}, "
        f"and the exact Wilcoxon test over {what} needs {first.needed} before it can "
        f"reach {tests}. More seeds are no substitute."
    )
