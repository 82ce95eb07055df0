"""What depends on who else is compared, in words and tables: profile, mean ranks, best of k.

Text cells, as in `tables`; illustrations, and said to be.
"""

from collections.abc import Sequence

from tracking.appendix import Appendix
from tracking.comparison import Comparison
from tracking.numerals import number, p_value
from tracking.ranking import Ranking
from tracking.tables import Section, Table
from tracking.wording import MEASURES, measure


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
