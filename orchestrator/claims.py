"""What a study as planned will be able to say: its power, and whom its answers can be about."""

from dataclasses import dataclass, replace

from orchestrator.looks_power import Design
from orchestrator.power import detectable, power
from orchestrator.sweep import Sweep
from tracking.data_sets import needed

_HALF = 0.5  # an effect worth naming, in sd of the paired differences


@dataclass(frozen=True)
class Claims:
    """Effects are in sd of the paired differences, for a power of 0.8; None where there is none.

    With `looks`, powers are those of the last one, by the limits of all of them, and `mean_seeds`
    are what one test takes: where the effect is that of `detectable_level_a`, half an sd, none.
    `tests` are those that Holm adjusts for. Level A is about these data sets with new seeds, here
    with one spread on all of them and at Holm's strictest step; level B is about data sets like
    these, and takes `data_sets_needed` of them.
    """

    seeds: int
    workloads: int
    tests: int
    data_sets: int
    data_sets_needed: int
    detectable_on_one: float | None
    detectable_level_a: float | None
    power_level_a_half: float | None
    level_a: bool
    level_b: bool
    looks: tuple[int, ...] = ()
    limits: str | None = None
    mean_seeds: tuple[float, float, float] | None = None


def claims(sweep: Sweep) -> Claims:
    """Work out what the seeds, data sets and questions of a sweep can carry."""
    declared, keys = sweep.keys.seeds, sweep.keys.analysis
    seeds, workloads = len(declared.blocks), len(sweep.workloads)
    tests = len(keys.endpoints) * len(sweep.questions)
    sets = len({one.data_set for one in sweep.workloads})
    # Each look may be the last, so the tests over data sets count them all.
    least = needed(max(1, tests) * max(1, len(declared.looks)), keys.alpha)
    pairs, df = seeds * workloads, workloads * (seeds - 1)
    asked = tests > 0 and df > 0
    found = Claims(
        seeds=seeds,
        workloads=workloads,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        detectable_on_one=detectable(seeds, seeds - 1, keys.alpha),
        detectable_level_a=detectable(pairs, df, keys.alpha / tests) if asked else None,
        power_level_a_half=power(_HALF, pairs, df, keys.alpha / tests) if asked else None,
        level_a=asked,
        level_b=tests > 0 and sets >= least,
    )
    return _by_looks(found, sweep) if declared.looks else found


def _by_looks(found: Claims, sweep: Sweep) -> Claims:
    """Put the limits of the looks in the place of those of one look at all seeds."""
    looks, keys = sweep.keys.seeds.looks, sweep.keys.analysis
    alone = Design(looks, keys.limits, 1, keys.alpha)
    found = replace(found, looks=looks, limits=keys.limits, detectable_on_one=alone.detectable())
    if not found.level_a:
        return found
    pooled = Design(looks, keys.limits, found.workloads, keys.alpha / found.tests)
    least = pooled.detectable()
    at_least, half, none = (pooled.course(effect) for effect in (least, _HALF, 0.0))
    return replace(
        found,
        detectable_level_a=least,
        power_level_a_half=half.power,
        mean_seeds=(at_least.seeds, half.seeds, none.seeds),
    )


def claim_lines(found: Claims) -> list[tuple[str, str]]:
    """Return lines of label and content for a plan."""
    if found.detectable_on_one is None:
        return [
            ("power", "one seed gives no interval: use two at least, five or more for an answer")
        ]
    power_of_one = (
        f"{_seeds(found)} find, 4 times in 5, a difference of "
        f"{found.detectable_on_one:.2f} sd of the paired differences on one workload"
    )
    if found.tests:
        said = [_level_a(found), _level_b(found)]
    else:
        said = ["none: the sweep asks no question (`baseline:` or `compare:`)"]
    return [("power", power_of_one), *(("claim", one) for one in said)]


def _level_a(found: Claims) -> str:
    assert found.detectable_level_a is not None
    assert found.power_level_a_half is not None
    tests = f"{found.tests} tests, Holm's strictest step"
    if found.mean_seeds is not None:
        at_least, half, none = found.mean_seeds
        return (
            f"on {_these(found.workloads)}, with new seeds: an average of "
            f"{found.detectable_level_a:.2f} sd 4 times in 5, after {at_least:.1f} of "
            f"{found.seeds} seeds on average; of {_HALF} sd with probability "
            f"{found.power_level_a_half:.2f}, after {half:.1f}; where there is none, {none:.1f} "
            f"seeds (one of {found.tests} tests, at Holm's strictest step)"
        )
    return (
        f"on {_these(found.workloads)}, with new seeds: an average of "
        f"{found.detectable_level_a:.2f} sd 4 times in 5, of {_HALF} sd with probability "
        f"{found.power_level_a_half:.2f} ({tests})"
    )


def _seeds(found: Claims) -> str:
    if not found.looks:
        return f"{found.seeds} seeds"
    manner = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}[found.limits or ""]
    return f"looks at {', '.join(map(str, found.looks))} seeds ({manner})"


def _level_b(found: Claims) -> str:
    what = f"{found.data_sets} data set{'s' * (found.data_sets != 1)}"
    if found.level_b:
        return (
            f"on data sets like these: possible from {what}, as far as they are a fair sample of "
            "the ones that are meant"
        )
    return (
        f"on data sets like these: none from {what}; the exact test over data sets needs "
        f"{found.data_sets_needed} with {found.tests} tests, and more seeds are no substitute"
    )


def _these(workloads: int) -> str:
    return "this workload" if workloads == 1 else f"these {workloads} workloads"
