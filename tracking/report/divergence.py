"""How often each side of a question diverged, in words and as a table."""

from tracking.compare.result import Comparison, Divergence
from tracking.report.tables import Table
from tracking.report.wording import p_relation, p_value, title
from tracking.stats.t_tests import proportion_interval


def sentence(one: Divergence) -> str:
    """Say how often each side diverged, and if one does so more often."""
    sides = ((one.question.candidate, one.candidate), (one.question.baseline, one.baseline))
    counted = ", ".join(f"{name} diverged in {_share(count, one.n)}" for name, count in sides)
    said = f"{one.word} in failures: {counted}"
    if one.p_adjusted is None:
        return f"{said}; always in the same blocks, so nothing sets them apart."
    apart = one.only_candidate + one.only_baseline
    blocks = f"{apart} block{'s' * (apart != 1)}"
    return (
        f"{said}; exact McNemar test on the {blocks} that set them apart, "
        f"Holm p {p_relation(one.p_adjusted)}."
    )


def with_divergence(comparison: Comparison) -> tuple[Divergence, ...]:
    """Return the questions in which some trial diverged."""
    return tuple(one for one in comparison.divergence if one.word != "none")


def table(comparison: Comparison) -> Table:
    """Every question in which some trial diverged, counted over all workloads."""
    return Table.of(
        "Failures",
        [
            {
                "question": title(one.question),
                "candidate diverged [95% CI]": _share(one.candidate, one.n),
                "baseline diverged [95% CI]": _share(one.baseline, one.n),
                "only the candidate / baseline": f"{one.only_candidate} / {one.only_baseline}",
                "p": p_value(one.p),
                "p adj.": p_value(one.p_adjusted),
                "verdict": one.word,
            }
            for one in with_divergence(comparison)
        ],
    )


def _share(count: int, n: int) -> str:
    low, high = proportion_interval(count, n)
    return f"{count} of {n} [{100 * low:.0f}%, {100 * high:.0f}%]"
