"""From an estimate to one word. "Not significant" is never "equal"."""

from typing import Literal

from tracking.estimates import Estimate

Verdict = Literal["better", "worse", "equivalent", "undecided", "identical", "not estimable"]


def verdict(
    estimate: Estimate, p: float | None, equivalence_p: float | None, alpha: float
) -> Verdict:
    """Return the word for an estimate, given its p-values adjusted for the family of tests.

    Equivalence comes first: a difference that is surely smaller than anyone cares about is not a
    win, however sure its sign. `p` and `equivalence_p` are None where there is no test.
    """
    if estimate.kind == "identical":
        return "identical"
    if estimate.kind != "estimated" or estimate.mean is None or p is None:
        return "not estimable"
    if equivalence_p is not None and equivalence_p <= alpha:
        return "equivalent"
    if p > alpha:
        return "undecided"
    return "better" if estimate.mean > 0 else "worse"


def upheld(
    word: Verdict,
    without_collapse: Estimate,
    p: float | None,
    equivalence_p: float | None,
    alpha: float,
) -> bool:
    """Say whether a verdict stands when blocks with a collapsed trial are left out.

    The p-values are those of `without_collapse`, adjusted as the verdict's own; where they are
    None, too little remains to uphold anything.
    """
    clean = verdict(without_collapse, p, equivalence_p, alpha)
    return word in ("undecided", "not estimable", clean)
