"""The site of a study: its profile as files have it now, or as the study has recorded it.

A job that looks after a study may run where no profile lies and no variable of its user's shell is
set, so every submission records the profile that it was sent by.
"""

import os
from dataclasses import replace

from jobs.contract.layout import Layout
from orchestrator.backends.records import read_submissions
from orchestrator.study.study import Study
from orchestrator.sweep.site_profile import SITE_VARIABLE, find_profile, read_site
from slurm.site.site import Site


def site_of(study: Study) -> Site:
    """Return the site that jobs of a study are sent to; raises SweepError if its profile is wrong.

    That is the one that the study was opened with, or else that of the profile which the sweep or
    the shell names. If neither names one, or the named one does not lie here, it is the one of the
    last submission, read again from its file if that is still there.
    """
    if study.site is not None:
        return study.site
    named = study.sweep.keys.site or os.environ.get(SITE_VARIABLE)
    recorded = recorded_site(study.layout)
    if recorded is None or (named and not _names(named, recorded)):
        return read_site(named)
    if recorded.profile is not None and not recorded.profile.is_file():
        return recorded
    # What that leaves open stays as the shell said that has sent the last one.
    named = None if recorded.profile is None else str(recorded.profile)
    return read_site(named, {**recorded.shell, **os.environ})


def _names(named: str, site: Site) -> bool:
    """Return True if a name or path is that of a site, whose profile may lie here no more."""
    path, known = find_profile(named), site.profile
    if path.is_file() or known is None:
        return path.absolute() == known
    if path.is_absolute():
        return named in (site.name, str(known))
    return path.name == known.name  # counted from another folder


def recorded_site(layout: Layout) -> Site | None:
    """Return the site that the last submission of a study to SLURM was sent to.

    None if there is none, or its record is of a version that did not keep the profile.
    """
    for submission in reversed(read_submissions(layout)):
        request = submission.request or {}
        request = request.get("allocation") or request
        if "profile" in request:
            return Site.from_json(request["profile"])
    return None


def with_recorded_site(study: Study) -> Study:
    """Return a study that is sent as its last submission was, wherever its sender runs."""
    return replace(study, site=recorded_site(study.layout))
