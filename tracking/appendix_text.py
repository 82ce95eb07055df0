"""The appendix in words and tables, section by section; an empty section says why it is.

Text cells, as in `tables`; chooses rows, columns and formats.
"""

from tracking import pool_text
from tracking.appendix import Appendix, Cost, Evidence
from tracking.comparison import Comparison
from tracking.numerals import p_value, signed, small_p, suffix
from tracking.pool_text import endpoint_words
from tracking.tables import Section, Table
from tracking.wording import measure, title

_NO_COSTS = "None: it takes two seeds or more, on workloads whose differences have one unit."
NO_QUESTION = "None: the sweep asks no question."
MANNERS = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}


def sections(comparison: Comparison, found: Appendix) -> tuple[Section, ...]:
    """Return every part, in order."""
    return (
        _evidence(comparison, found),
        _shapes(comparison, found),
        _max_t(comparison),
        pool_text.profile(found),
        pool_text.mean_ranks(comparison),
        _ahead(comparison, found),
        pool_text.settings(found),
        _costs(comparison, found),
    )


def needed_e(comparison: Comparison) -> float:
    """Return the e-value that one of the family's tests has to reach."""
    return comparison.family / comparison.alpha


def design(one: Cost) -> str:
    """Name a design of looks."""
    at = ", ".join(map(str, one.looks))
    said = f"one look at {at}" if one.shape is None else f"{MANNERS[one.shape]} at {at}"
    return f"{said} (declared)" if one.declared else said


def _evidence(comparison: Comparison, found: Appendix) -> Section:
    heading = "Evidence at any time: the e-t process"
    if not comparison.questions:
        return Section("evidence", heading, NO_QUESTION)
    if not found.evidence:
        return Section("evidence", heading, "None: nothing is pooled over the workloads.")
    last: dict[tuple[str, str], Evidence] = {}
    for one in found.evidence:
        last[title(one.question), one.endpoint] = one
    rows = tuple(
        (
            title(one.question),
            endpoint_words(comparison, one.endpoint),
            str(one.n),
            _e(one.e_value),
            p_value(one.p),
            _interval(one),
        )
        for one in last.values()
    )
    note = (
        "For a study that goes on without a planned end: after every seed, each averaged over "
        "the workloads, how much better an effect explains the differences than none does. It may "
        "be looked at whenever one likes, and pays for that with power (mixture over mean / sd "
        "with variance 1; Wang and Ramdas 2023). Rejected would be what has ever reached "
        f"{needed_e(comparison):g}: {comparison.family} tests at {comparison.alpha:g} together. "
        "Strictly, where to stop may depend on this comparison alone, and differences are normal. "
        "The verdicts are made by another test, which is the one that counts."
    )
    header = ("question", "endpoint", "seeds", "E now", "p at any time", "Δ at all times, 95%")
    return Section("evidence", heading, note, (Table("After the last seed", header, rows),))


def _interval(one: Evidence) -> str:
    if one.high == float("inf"):
        return "no bound yet"
    return f"[{signed(one.low, one.unit)}, {signed(one.high, one.unit)}]{suffix(one.unit)}"


def _e(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.1e}"


def _shapes(comparison: Comparison, found: Appendix) -> Section:
    heading = "Limits of looks: Pocock beside O'Brien and Fleming"
    if comparison.looks is None:
        return Section("shapes", heading, "None: this study declared one look, at all seeds.")
    if not found.shapes:
        return Section("shapes", heading, "None yet: no look is complete.")
    agreed = MANNERS[comparison.looks.shape]
    note = (
        f"Agreed on was {agreed}, and it alone keeps the level: taking the other because of what "
        "it says here does not. Pocock asks the same at every look, so it stops sooner for large "
        "differences and finds fewer small ones at the last. Limits at Holm's strictest step; p "
        "over looks is the least repeated one so far."
    )
    header = (
        "question",
        "endpoint",
        "look",
        "seeds",
        "p",
        *(f"limit, {name}" for name in MANNERS.values()),
        *(f"p over looks, {name}" for name in MANNERS.values()),
    )
    rows = tuple(
        (
            title(one.question),
            endpoint_words(comparison, one.endpoint),
            str(one.look),
            str(one.seeds),
            small_p(one.p),
            small_p(one.limit_obrien_fleming),
            small_p(one.limit_pocock),
            p_value(one.p_obrien_fleming),
            p_value(one.p_pocock),
        )
        for one in found.shapes
    )
    return Section("shapes", heading, note, (Table("Look by look, both ways", header, rows),))


def _max_t(comparison: Comparison) -> Section:
    heading = "Max-T beside Holm"
    tested = [
        (one, one.sensitivity.max_t_p)
        for one in comparison.pooled
        if one.sensitivity is not None and one.sensitivity.max_t_p is not None
    ]
    if not tested:
        why = (
            "None: it adjusts over several questions about one candidate, by the blocks that all "
            "of them have."
        )
        return Section("max_t", heading, why if comparison.questions else NO_QUESTION)
    note = (
        "Signs of whole blocks are flipped, so that questions about one candidate keep what they "
        "share, which Holm's method does without. Over the questions of one endpoint only, and "
        "not over looks: no substitute for the adjusted p of the verdicts."
    )
    rows = tuple(
        (
            title(one.question),
            measure(one).split(" (")[0],
            p_value(one.estimate.p),
            p_value(one.p_adjusted),
            p_value(p),
        )
        for one, p in tested
    )
    header = ("question", "endpoint", "p", "p adj. of the verdict", "p: max-T")
    return Section("max_t", heading, note, (Table("Adjusted p-values", header, rows),))


def _ahead(comparison: Comparison, found: Appendix) -> Section:
    heading = "How often ahead: P(candidate > baseline)"
    if not found.ahead:
        why = "None: there is no pair." if comparison.questions else NO_QUESTION
        return Section("ahead", heading, why)
    note = (
        "Over all paired blocks of these workloads, a tie one half; 95% interval of Clopper and "
        "Pearson, for one row, unadjusted and for no look but this one. How often, not by how "
        "much."
    )
    rows = tuple(
        (
            title(one.question),
            endpoint_words(comparison, one.endpoint),
            f"{one.share.wins:g} of {one.share.n}",
            f"{one.share.probability:.2f} [{one.share.low:.2f}, {one.share.high:.2f}]",
        )
        for one in found.ahead
    )
    header = ("question", "endpoint", "ahead", "P(ahead) [95% CI]")
    return Section("ahead", heading, note, (Table("Blocks", header, rows),))


def _costs(comparison: Comparison, found: Appendix) -> Section:
    heading = "What a decision costs"
    if not comparison.questions:
        return Section("costs", heading, NO_QUESTION)
    if not found.costs:
        return Section("costs", heading, _NO_COSTS)
    note = (
        "Of the design, not of the results: the chance that one question is answered, and the "
        "seeds used until then, for a true difference of so many sd of the paired differences, "
        f"alike on all workloads, at Holm's strictest step of {comparison.family} tests. "
        "Simulated 4000 times, so good to about 0.01."
    )
    return Section("costs", heading, note)
