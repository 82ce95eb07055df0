"""The appendix in words and tables, section by section; an empty section says why it is.

Text cells, as in `tables`; chooses rows, columns and formats.
"""

from tracking import pool_text
from tracking.appendix import Appendix
from tracking.comparison import Comparison
from tracking.numerals import p_value, small_p
from tracking.pool_text import endpoint_words
from tracking.tables import Section, Table
from tracking.wording import measure, title

NO_QUESTION = "None: the sweep asks no question."
MANNERS = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}


def sections(comparison: Comparison, found: Appendix) -> tuple[Section, ...]:
    """Return every part, in order."""
    return (
        _shapes(comparison, found),
        _max_t(comparison),
        pool_text.profile(found),
        pool_text.mean_ranks(comparison),
        _ahead(comparison, found),
        pool_text.settings(found),
    )


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
