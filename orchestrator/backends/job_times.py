"""The time limit of jobs that nobody names one for: by trials that have ended, else all there is.

A job always says how long it may run: the default of a partition may be minutes, and what asks for
little starts earlier.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from jobs.contract.trial import Trial
from orchestrator.backends.base import PlacementRequest
from orchestrator.study.estimate import measure_by_trial
from slurm import limits
from slurm.request import JobResources
from slurm.site.facts import Facts
from slurm.site.site import Site

_TIMES = 3  # what trials have taken: nodes differ, and some are shared
_START_S = 300  # of a job, with all that a site and `setup` do first
_DAY_MIN = 24 * 60


def with_time(
    job: JobResources,
    packs: Sequence[Sequence[Trial]],
    request: PlacementRequest,
    site: Site,
    facts: Facts | None,
) -> JobResources:
    """Return resources with a time limit, if neither sweep nor profile has one.

    It is a multiple of what the trials of the longest pack have taken so far; while nothing is
    known of one, as much as the partition allows, a day at most.
    """
    if job.time_min or site.time_min or facts is None:
        return job
    known = [one.time_min for one in limits.find_partitions(facts, site) if one.time_min]
    most = min([*known, _DAY_MIN])
    device = request.study.sweep.keys.resources.device
    seconds = measure_by_trial(request.outcomes, device)
    longest = 0.0
    for pack in packs:
        takes = [seconds.get(trial.id) for trial in pack]
        measured = [one for one in takes if one is not None]
        if len(measured) < len(takes):
            return replace(job, time_min=most)
        longest = max(longest, sum(measured) / job.lanes, *measured)
    wanted = math.ceil((_TIMES * longest + _START_S + site.grace_s) / 60)
    return replace(job, time_min=min(wanted, most))
