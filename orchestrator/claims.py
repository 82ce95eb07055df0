"""What a study as planned will be able to say: its power, and whom its answers can be about."""

from dataclasses import dataclass

from orchestrator.power import ALPHA, detectable, power
from orchestrator.sweep import Sweep
from tracking.data_sets import data_set, needed

_ENDPOINTS = 2  # final score and speed: each question is two tests
_HALF = 0.5  # an effect worth naming, in sd of the paired differences


@dataclass(frozen=True)
class Claims:
    """Effects are in sd of the paired differences, for a power of 0.8; None where there is none.

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


def claims(sweep: Sweep) -> Claims:
    """Work out what the seeds, data sets and questions of a sweep can carry."""
    seeds, workloads = len(sweep.blocks), len(sweep.workloads)
    tests = _ENDPOINTS * len(sweep.questions)
    sets = len({data_set(one) for one in sweep.workloads})
    least = needed(max(1, tests), ALPHA)
    pairs, df = seeds * workloads, workloads * (seeds - 1)
    asked = tests > 0 and df > 0
    return Claims(
        seeds=seeds,
        workloads=workloads,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        detectable_on_one=detectable(seeds, seeds - 1),
        detectable_level_a=detectable(pairs, df, ALPHA / tests) if asked else None,
        power_level_a_half=power(_HALF, pairs, df, ALPHA / tests) if asked else None,
        level_a=asked,
        level_b=tests > 0 and sets >= least,
    )


def claim_lines(found: Claims) -> list[tuple[str, str]]:
    """Return lines of label and content for a plan."""
    if found.detectable_on_one is None:
        return [
            ("power", "one seed gives no interval: use two at least, five or more for an answer")
        ]
    power_of_one = (
        f"{found.seeds} seeds find, 4 times in 5, a difference of "
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
    return (
        f"on {_these(found.workloads)}, with new seeds: an average of "
        f"{found.detectable_level_a:.2f} sd 4 times in 5, of {_HALF} sd with probability "
        f"{found.power_level_a_half:.2f} ({tests})"
    )


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
