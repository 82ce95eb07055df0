"""The appendix in words and tables, section by section; an empty section says why it is.

Text cells, as in `tables`; chooses rows, columns and formats.

What depends on who else is compared, in words and tables: profile, mean ranks, best of k.

Text cells, as in `tables`; illustrations, and said to be.
"""

from collections.abc import Sequence

from tracking.compare.appendix import Appendix
from tracking.compare.rankings import Ranking
from tracking.compare.result import Comparison
from tracking.report.tables import Section, Table
from tracking.report.wording import MEASURES, measure, number, p_value, small_p, title


def endpoint_words(comparison: Comparison, endpoint: str) -> str:
    """Name an endpoint by what it measures in this study."""
    named = [measure(one) for one in comparison.pooled if one.endpoint == endpoint]
    return (named[0] if named else MEASURES.get(endpoint, endpoint)).split(" (")[0]


def profile(found: Appendix) -> Section:
    heading = "Performance profile"
    if not found.profile:
        return Section("profile", heading, f"None: {found.no_profile}.")
    count = len(found.profile[0].ratios)
    note = (
        "On what share of the workloads a candidate's median steps to the target are within a "
        "factor of the fewest (Dolan and Moré 2002). Score: the area from 1 to 4 by its exact "
        f"integral, 1 at best, over {count} workload{'s' * (count != 1)}; range: one seed left "
        "out at a time, which is no interval. It depends on who else is compared."
    )
    rows = tuple(
        (
            one.candidate,
            number(one.score, 3),
            number(None)
            if one.low is None or one.high is None
            else f"{one.low:.3f} to {one.high:.3f}",
            f"{sum(ratio == 1 for _, ratio in one.ratios)} of {count}",
            f"{sum(ratio < float('inf') for _, ratio in one.ratios)} of {count}",
        )
        for one in found.profile
    )
    header = ("candidate", "score", "range without a seed", "fastest on", "reached on")
    return Section("profile", heading, note, (Table("Scores", header, rows),))


def mean_ranks(comparison: Comparison) -> Section:
    heading = "Mean ranks over data sets"
    ranked = [one for one in comparison.rankings if one.why is None]
    if not ranked:
        why = comparison.rankings[0].why if comparison.rankings else "nothing was compared"
        return Section("ranks", heading, f"None: {why}.")
    note = (
        "An illustration that depends on the pool of candidates (Demšar 2006; Benavoli et al. "
        "2016). Bars join candidates that the exact Wilcoxon test over data sets, by Holm over "
        "all pairs, does not tell apart, which is not to say that they are alike. Above: by how "
        "much two mean ranks must differ by Nemenyi's test."
    )
    floor = ranked[0].least_p
    if floor is not None and floor > comparison.alpha:
        n = len(ranked[0].data_sets)
        note += (
            f" With {n} data sets and so many pairs no p-value can be below {floor:.2g}: nobody "
            "can be told apart."
        )
    header = ("endpoint", "data sets", "Friedman χ²", "p", "F", "p of F", "critical difference")
    tests = tuple(_friedman(comparison, one) for one in ranked)
    places = tuple(
        (name, *(number(_rank(one, name)) for one in ranked)) for name in ranked[0].candidates
    )
    words = [endpoint_words(comparison, one.endpoint) for one in ranked]
    return Section(
        "ranks",
        heading,
        note,
        (
            Table("Are all candidates alike?", header, tests),
            Table("Mean ranks", ("candidate", *(f"by {word}" for word in words)), places),
        ),
    )


def _friedman(comparison: Comparison, one: Ranking) -> tuple[str, ...]:
    tested = one.friedman
    assert tested is not None
    return (
        endpoint_words(comparison, one.endpoint),
        str(len(one.data_sets)),
        number(tested.chi2),
        p_value(tested.p),
        number(tested.f),
        p_value(tested.p_f),
        number(one.critical_difference),
    )


def _rank(one: Ranking, name: str) -> float:
    return one.mean_ranks[one.candidates.index(name)]


def settings(found: Appendix) -> Section:
    heading = "Expected best of k settings"
    if not found.tried:
        return Section(
            "tried", heading, "None: no optimizer has three settings with results on shared seeds."
        )
    note = (
        "What the best of k settings of an optimizer, drawn from those that were tried, is "
        "expected to reach, by the last value of the curve that tuning may look at (unbiased; "
        "Dodge et al. 2019, Tang et al. 2020). It holds for these settings, however they came to "
        "be chosen."
    )
    rows = tuple(
        (
            one.workload,
            one.optimizer,
            one.metric + (", %" if one.in_points else ""),
            str(one.seeds),
            str(one.settings),
            *(number(value) for value in _ends(one.expected)),
        )
        for one in found.tried
    )
    header = (
        "workload",
        "optimizer",
        "metric",
        "seeds",
        "settings",
        "of one",
        "of half",
        "of all",
    )
    return Section("tried", heading, note, (Table("Expected best", header, rows),))


def _ends(values: Sequence[float]) -> tuple[float, float, float]:
    return values[0], values[(len(values) - 1) // 2], values[-1]


NO_QUESTION = "None: the sweep asks no question."
MANNERS = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}


def sections(comparison: Comparison, found: Appendix) -> tuple[Section, ...]:
    """Return every part, in order."""
    return (
        _shapes(comparison, found),
        _max_t(comparison),
        profile(found),
        mean_ranks(comparison),
        _ahead(comparison, found),
        settings(found),
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
