"""From the first digits of a trial's id, as people write it, to the trial."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.layout import Layout
from orchestrator.study.study import Study, open_study
from orchestrator.sweep.document import SweepError, choices

_MOST_NAMED = 5
_TRIAL = re.compile(rb'"trial":"([0-9a-f]{16})"')


@dataclass(frozen=True)
class FoundTrial:
    """A trial of a study; it need not be planned any more."""

    study: Study
    trial: str


def find_id(prefix: str, known: Iterable[str], where: str) -> str:
    """Return the one id that begins with `prefix`; raises SweepError if none or several do."""
    ids = list(known)
    matching = [trial_id for trial_id in ids if prefix and trial_id.startswith(prefix)]
    if prefix in matching:
        return prefix
    if not matching:
        few = len(ids) <= _MOST_NAMED
        hint = choices(prefix, ids) if few else "`thermolion status STUDY` lists them"
        raise SweepError(f"{prefix!r} is no trial of {where}: {hint}")
    if len(matching) > 1:
        raise SweepError(
            f"{prefix!r} is short for {len(matching)} trials of {where}: "
            f"{', '.join(matching[:_MOST_NAMED])}{', …' * (len(matching) > _MOST_NAMED)}; give "
            "more digits"
        )
    return matching[0]


def find_in_study(prefix: str, study: Study) -> FoundTrial:
    """Find a trial of one study, planned or recorded; raises SweepError if there is none."""
    planned = [trial.id for trial in study.trials]
    if not any(trial_id.startswith(prefix) for trial_id in planned):
        planned += read_ids(study.layout)
    return FoundTrial(study, find_id(prefix, dict.fromkeys(planned), repr(study.name)))


def find_in_root(prefix: str, root: Path) -> FoundTrial:
    """Find a trial of any study of a root; raises SweepError if there is none, or several."""
    matching = []
    for sweep in sorted(root.glob("*/sweep.yaml")):
        try:
            study = open_study(sweep.parent.name, root)
        except SweepError:
            continue  # a damaged study hides no trial of another
        ids = dict.fromkeys([*(t.id for t in study.trials), *read_ids(study.layout)])
        matching += [FoundTrial(study, i) for i in ids if prefix and i.startswith(prefix)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise SweepError(
            f"{prefix!r} is no trial of a study below {root}: `thermolion status STUDY` lists "
            "those of a study, --study FILE takes a sweep that is not recorded yet"
        )
    places = ", ".join(f"{one.trial} of {one.study.name}" for one in matching[:_MOST_NAMED])
    more = ", …" * (len(matching) > _MOST_NAMED)
    raise SweepError(
        f"{prefix!r} is short for {len(matching)} trials: {places}{more}; give more digits, or "
        "--study STUDY"
    )


def read_ids(layout: Layout) -> list[str]:
    """Return the ids that the event logs of a study name, without parsing the events."""
    ids: dict[str, None] = {}
    for log in sorted(layout.events.glob("*.jsonl")):
        ids |= dict.fromkeys(match.decode() for match in _TRIAL.findall(log.read_bytes()))
    return list(ids)
