"""What a study as planned can show: its power, by looks if it has any, and on what data sets.

The arithmetic of power is `orchestrator.study.design_power`'s.
"""

from dataclasses import dataclass

from orchestrator.study.design_power import Design, Shape, format_power
from orchestrator.study.designs import SearchShare, is_tuned, replicate
from orchestrator.sweep.sweep import Sweep
from tracking.questions.analysis import data_sets_needed
from tracking.questions.units import LEAST_UNITS, LEAST_UNITS_EACH


@dataclass(frozen=True)
class Claims:
    """What the seeds, searches, data sets and questions of a sweep can carry.

    Effects are in sd of the paired difference on one block, and found with a power of 0.8; None if
    there is none. `units` are what is repeated on a workload, at the last look: seeds, or searches
    if `of_searches`. `words`: they are as many as a word takes; by wins that is `fewest_wins` in
    all, None by means. With `looks`, powers are those of the last one, by the limits of all of
    them, and `mean_units` are what one test takes if the effect is `detectable_level_a`, `effect`,
    none. `tests` are those that Holm adjusts for. Level A is about these data sets with new seeds,
    here with one spread on all of them and at Holm's strictest step; level B is about data sets
    like these, and takes `data_sets_needed` of them. `names_settings`: what is tuned is tuned
    once, so that verdicts are about the settings found. Of the `workloads` so many are
    `independent`: those that differ in ranks or precision alone have the same seeds.
    """

    seeds: int
    units: int
    of_searches: bool
    workloads: int
    independent: int
    tests: int
    data_sets: int
    data_sets_needed: int
    words: bool
    fewest_wins: int | None
    names_settings: bool
    detectable_on_one: float | None
    effect: float
    detectable_level_a: float | None
    power_level_a: float | None
    level_a: bool
    level_b: bool
    looks: tuple[int, ...] = ()
    limits: Shape | None = None
    mean_units: tuple[float, float, float] | None = None


def compute_claims(sweep: Sweep, effect: float, share: SearchShare) -> Claims:
    """Work out what the seeds, searches, data sets and questions of a sweep can carry."""
    declared, keys = sweep.keys.seeds, sweep.keys.analysis
    repeated = replicate(sweep, share.value)
    workloads, independent = len(sweep.workloads), sweep.independent_workloads
    wins = keys.primary == "win_probability"
    tests = len(sweep.endpoints) * len(sweep.questions)
    sets = len({one.data_set for one in sweep.workloads})
    level = sweep.keys.alpha / max(1, tests)
    # Each look may be the last, so the tests over data sets count them all.
    least = data_sets_needed(max(1, tests) * len(repeated.units), sweep.keys.alpha)
    # Single workloads are a family of their own.
    alone = Design(repeated.units, 1, level / workloads, keys.limits, wins)
    pooled = Design(repeated.units, independent, level, keys.limits, wins)
    detectable = pooled.detectable() if tests else None
    mean_units = None
    if detectable is not None and declared.looks:
        first, second, third = (
            pooled.course(one).units for one in (detectable, effect / repeated.sd, 0.0)
        )
        mean_units = first, second, third
    on_one = alone.detectable()
    return Claims(
        seeds=len(declared.blocks),
        units=repeated.units[-1],
        of_searches=repeated.of_searches,
        workloads=workloads,
        independent=independent,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        words=pooled.gives_words,
        fewest_wins=pooled.fewest_wins,
        names_settings=is_tuned(sweep) and sweep.searches == 1,
        detectable_on_one=None if on_one is None else on_one * repeated.sd,
        effect=effect,
        detectable_level_a=None if detectable is None else detectable * repeated.sd,
        power_level_a=None if detectable is None else pooled.power(effect / repeated.sd),
        level_a=detectable is not None,
        level_b=tests > 0 and sets >= least,
        looks=declared.looks,
        limits=keys.limits if declared.looks else None,
        mean_units=mean_units,
    )


def describe_claims(claims: Claims) -> list[tuple[str, str]]:
    """Return the lines that `plan` prints, as label and text."""
    lines = []
    if not claims.words:
        lines.append(("power", _describe_no_words(claims)))
    elif claims.tests:
        lines.append(("power", _describe_level_a(claims)))
        if claims.workloads > 1:
            lines.append(("power", _describe_one(claims)))
        if claims.independent < claims.workloads:
            lines.append(("power", _describe_shared(claims)))
        if claims.fewest_wins is not None:
            lines.append(("power", _describe_wins(claims)))
    if not claims.tests:
        lines.append(("claim", "none: the sweep asks no question (`baseline:` or `compare:`)"))
    elif claims.words or claims.level_b:
        lines.append(("claim", _describe_level_b(claims)))
    if claims.names_settings:
        text = (
            "with one search a workload, sentences name the settings that it has found and not "
            "the optimizers: another search may find others"
        )
        lines.append(("claim", text))
    return lines


def _describe_no_words(claims: Claims) -> str:
    units = max(LEAST_UNITS_EACH, -(-LEAST_UNITS // claims.independent))
    if claims.fewest_wins is not None:
        units = max(units, -(-claims.fewest_wins // claims.independent))
    what, noun = ("repeats", "searches") if claims.of_searches else ("seeds", "seeds")
    which = f"{what}: {units}" if not claims.looks else f"a last look at {units} {noun}"
    least = f"{LEAST_UNITS} {_noun(claims)} in all and {LEAST_UNITS_EACH} on each workload"
    if claims.fewest_wins is not None:
        fewest = max(LEAST_UNITS, claims.fewest_wins)
        least = f"{fewest} {_noun(claims)} in all, for even if all are won the exact "
        least += f"test cannot reach the level of one of {claims.tests} tests"
    return (
        f"none, with {_plural(claims.units, claims.of_searches)} on {_count(claims)}: no word is "
        f"said of fewer than {least}; write {which} or more"
    )


def _describe_shared(claims: Claims) -> str:
    return (
        f"the {claims.workloads} workloads count as {claims.independent}: those that differ in "
        "ranks or precision alone have the same seeds, and the same searches with `tune.ranks`"
    )


def _describe_wins(claims: Claims) -> str:
    tests = "one test" if claims.tests == 1 else f"the strictest of {claims.tests} tests"
    return (
        f"wins: {tests} takes {claims.fewest_wins} {_noun(claims)} in all, and here are "
        f"{claims.units * claims.workloads}"
    )


def _noun(claims: Claims) -> str:
    return "searches" if claims.of_searches else "blocks"


def _plural(units: int, of_searches: bool) -> str:
    one, several = ("search", "searches") if of_searches else ("seed", "seeds")
    return f"{units} {one if units == 1 else several}"


def _count(claims: Claims) -> str:
    return "one workload" if claims.workloads == 1 else f"each of {claims.workloads} workloads"


def _describe_level_a(claims: Claims) -> str:
    these = "this workload" if claims.workloads == 1 else f"these {claims.workloads} workloads"
    least = f"a difference of {claims.detectable_level_a:.2f} sd"
    if claims.workloads > 1:
        least = f"an average of {claims.detectable_level_a:.2f} sd"
    probability = format_power(claims.power_level_a or 0.0)
    named = f"{claims.effect:g} sd with probability {probability}"
    what = f"{_describe_units(claims)} find on {these} {least}, 4 times in 5"
    of = f"sd of the paired differences; {_describe_tests(claims.tests)}"
    if claims.mean_units is None:
        return f"{what}, and {named} ({of})"
    at_least, at_named, at_none = claims.mean_units
    return (
        f"{what}, after {at_least:.1f} of {claims.units} on average, and {named}, after "
        f"{at_named:.1f}; if there is none, it takes {at_none:.1f} ({of})"
    )


def _describe_one(claims: Claims) -> str:
    of = _describe_tests(claims.tests * claims.workloads)
    if claims.detectable_on_one is None:
        return f"on one of them alone: none, for a word takes {LEAST_UNITS} {_noun(claims)} there"
    return f"on one of them alone: {claims.detectable_on_one:.2f} sd, 4 times in 5 ({of})"


def _describe_tests(tests: int) -> str:
    return "one test" if tests == 1 else f"one of {tests} tests, at Holm's strictest step"


def _describe_units(claims: Claims) -> str:
    if claims.looks:
        manner = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}[claims.limits or ""]
        what = " with a search each" * claims.of_searches
        return f"looks at {', '.join(map(str, claims.looks))} seeds{what} ({manner})"
    if claims.of_searches:
        seeds = f"{claims.seeds} seed{'s' * (claims.seeds > 1)}"
        return f"{_plural(claims.units, True)} on {seeds}"
    return _plural(claims.units, False)


def _describe_level_b(claims: Claims) -> str:
    what = f"{claims.data_sets} data set{'s' * (claims.data_sets != 1)}"
    if claims.level_b:
        return (
            f"on data sets like these: possible from {what}, as far as they are a fair sample of "
            "the ones that are meant"
        )
    return (
        f"on data sets like these: none from {what}; the exact test over data sets needs "
        f"{claims.data_sets_needed} with {claims.tests} tests, and more seeds are no substitute"
    )
