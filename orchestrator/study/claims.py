"""What a study as planned can show: its power, by looks if it has any, and on what data sets.

The arithmetic of power is `orchestrator.study.design_power`'s.
"""

from dataclasses import dataclass

from orchestrator.study.design_power import (
    FEWEST_ON_EACH,
    FEWEST_UNITS,
    Design,
    Shape,
)
from orchestrator.sweep.sweep import Sweep
from tracking.compare.analysis import data_sets_needed

EFFECT = 1.0  # one worth naming, in sd of the paired differences


@dataclass(frozen=True)
class Claims:
    """What the seeds, data sets and questions of a sweep can carry.

    Effects are in sd of the paired differences and found with a power of 0.8; None if there is
    none. `words`: there are the five units in all and three on each workload that a word takes.
    With `looks`, powers are those of the last one, by the limits of all of them, and `mean_seeds`
    are what one test takes if the effect is `detectable_level_a`, `effect`, none. `tests` are
    those that Holm adjusts for. Level A is about these data sets with new seeds, here with one
    spread on all of them and at Holm's strictest step; level B is about data sets like these, and
    takes `data_sets_needed` of them.
    """

    seeds: int
    workloads: int
    tests: int
    data_sets: int
    data_sets_needed: int
    words: bool
    detectable_on_one: float | None
    effect: float
    detectable_level_a: float | None
    power_level_a: float | None
    level_a: bool
    level_b: bool
    looks: tuple[int, ...] = ()
    limits: Shape | None = None
    mean_seeds: tuple[float, float, float] | None = None


def compute_claims(sweep: Sweep, effect: float = EFFECT) -> Claims:
    """Work out what the seeds, data sets and questions of a sweep can carry."""
    declared, keys, alpha = sweep.keys.seeds, sweep.keys.analysis, sweep.keys.alpha
    seeds, workloads = len(declared.blocks), len(sweep.workloads)
    looks = declared.looks or (seeds,)
    tests = len(keys.endpoints) * len(sweep.questions)
    sets = len({one.data_set for one in sweep.workloads})
    # Each look may be the last, so the tests over data sets count them all.
    least = data_sets_needed(max(1, tests) * len(looks), alpha)
    alone = Design(looks, 1, alpha, keys.limits)
    pooled = Design(looks, workloads, alpha / max(1, tests), keys.limits)
    detectable = pooled.detectable() if tests else None
    courses = [] if detectable is None else [pooled.course(e) for e in (detectable, effect, 0.0)]
    has_looks = bool(declared.looks)
    return Claims(
        seeds=seeds,
        workloads=workloads,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        words=pooled.gives_words,
        detectable_on_one=alone.detectable(),
        effect=effect,
        detectable_level_a=detectable,
        power_level_a=courses[1].power if courses else None,
        level_a=detectable is not None,
        level_b=tests > 0 and sets >= least,
        looks=declared.looks,
        limits=keys.limits if has_looks else None,
        mean_seeds=(courses[0].units, courses[1].units, courses[2].units)
        if courses and has_looks
        else None,
    )


def describe_claims(claims: Claims) -> list[tuple[str, str]]:
    """Return the lines that `plan` prints, as label and text."""
    lines = []
    if claims.detectable_on_one is not None:
        text = (
            f"{_describe_seeds(claims)} find, 4 times in 5, a difference of "
            f"{claims.detectable_on_one:.2f} sd of the paired differences on one workload"
        )
        lines.append(("power", text))
    if not claims.words:
        lines.append(("power", _describe_no_words(claims)))
    if not claims.tests:
        lines.append(("claim", "none: the sweep asks no question (`baseline:` or `compare:`)"))
    elif claims.words:
        lines.append(("claim", _describe_level_a(claims)))
    if claims.tests and (claims.words or claims.level_b):
        lines.append(("claim", _describe_level_b(claims)))
    return lines


def _describe_no_words(claims: Claims) -> str:
    seeds = max(FEWEST_ON_EACH, -(-FEWEST_UNITS // claims.workloads))
    which = f"seeds: {seeds}" if not claims.looks else f"a last look at {seeds} seeds"
    return (
        f"none with {claims.seeds} seed{'s' * (claims.seeds > 1)} on {_count(claims)}: no word "
        f"is said from fewer than {FEWEST_UNITS} pairs in all and {FEWEST_ON_EACH} on each "
        f"workload; write {which} or more"
    )


def _count(claims: Claims) -> str:
    return "one workload" if claims.workloads == 1 else f"each of {claims.workloads} workloads"


def _describe_level_a(claims: Claims) -> str:
    these = "this workload" if claims.workloads == 1 else f"these {claims.workloads} workloads"
    least = f"an average of {claims.detectable_level_a:.2f} sd 4 times in 5"
    named = f"of {claims.effect:g} sd with probability {claims.power_level_a:.2f}"
    if claims.mean_seeds is None:
        step = f"{claims.tests} tests, Holm's strictest step"
        return f"on {these}, with new seeds: {least}, {named} ({step})"
    at_least, at_named, at_none = claims.mean_seeds
    return (
        f"on {these}, with new seeds: {least}, after {at_least:.1f} of {claims.seeds} seeds on "
        f"average; {named}, after {at_named:.1f}; if there is none, {at_none:.1f} seeds (one of "
        f"{claims.tests} tests, at Holm's strictest step)"
    )


def _describe_seeds(claims: Claims) -> str:
    if not claims.looks:
        return f"{claims.seeds} seeds"
    manner = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}[claims.limits or ""]
    return f"looks at {', '.join(map(str, claims.looks))} seeds ({manner})"


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
