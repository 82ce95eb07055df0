"""The living jobs of a selection of trials: what `cancel`, `hold` and `release` act on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.trial import Trial
from orchestrator.backends.base import job_states
from orchestrator.backends.records import Submission, read_pack, read_submissions
from orchestrator.status import read_status
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError, choices
from orchestrator.trial_ids import find_id


@dataclass(frozen=True)
class Jobs:
    """Living jobs, by submission and pack.

    `shared` are trials of the selection whose job carries others as well: it is left alone.
    """

    packs: Sequence[tuple[Submission, Sequence[int]]]
    shared: Sequence[str]

    @property
    def count(self) -> int:
        return sum(len(packs) for _, packs in self.packs)


def choose_jobs(
    study: Study, candidates: Sequence[str], workloads: Sequence[str], trials: Sequence[str]
) -> Jobs:
    """Return the living jobs all of whose trials are selected; an empty part selects by nothing.

    Raises SweepError for a name that no trial has.
    """
    everything = not (candidates or workloads or trials)
    chosen = _chosen(study, candidates, workloads, trials)
    submissions = read_submissions(study.layout)
    every = job_states(study.layout, submissions)
    packs, shared = [], []
    for submission in submissions:
        living = [pack for pack, state in every[submission.id].items() if state != "ended"]
        whole = []
        for pack in living:
            carried = [trial.id for trial in read_pack(study.layout, submission.id, pack).trials]
            if everything or chosen.keys() >= set(carried):
                whole.append(pack)
            else:
                shared += [trial for trial in carried if trial in chosen]
        if whole:
            packs.append((submission, whole))
    return Jobs(packs, shared)


def _chosen(
    study: Study, candidates: Sequence[str], workloads: Sequence[str], trials: Sequence[str]
) -> Mapping[str, Trial]:
    by_id = {trial.id: trial for trial in study.trials}
    settings = dict.fromkeys(trial.candidate.name for trial in by_id.values())
    declared = [candidate.name for candidate in study.sweep.candidates]
    _check("--candidate", candidates, [*declared, *settings])
    _check("--workload", workloads, [workload.name for workload in study.sweep.workloads])
    planned = read_status(study).planned if trials else {}
    named = {find_id(trial, planned, "this study") for trial in trials}
    return {
        trial_id: trial
        for trial_id, trial in by_id.items()
        if (not candidates or {trial.candidate.name, trial.candidate.declared} & set(candidates))
        and (not workloads or trial.workload.name in workloads)
        and (not named or trial_id in named)
    }


def _check(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise SweepError(f"{option} {name}: there is none here; {choices(name, known)}")
