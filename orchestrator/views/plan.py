"""The text and the JSON-ready record of `plan` and of `status`. Prints nothing."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobs.contract.command_template import select_settings
from jobs.contract.failures import hide_varying
from jobs.contract.quantities import are, quantity
from jobs.contract.trial import Trial
from jobs.contract.workloads.workload import ImageWorkload, Workload
from orchestrator.backends.base import backend_of
from orchestrator.progress.hours import StudyHours, read_hours
from orchestrator.progress.right_size import find_right_size
from orchestrator.progress.status import Status, TrialStatus
from orchestrator.progress.sweep_diff import PlanChange
from orchestrator.results.additions import FREEZES_AGAIN, Additions
from orchestrator.study.claims import Claims, compute_claims, describe_claims
from orchestrator.study.designs import (
    DesignPrice,
    SearchShare,
    describe_designs,
    list_designs,
    measure_share,
)
from orchestrator.study.image_counts import LoggedImages, find_shortages
from orchestrator.study.price import Lanes, Price, Pricing, describe_price
from orchestrator.study.study import Study
from orchestrator.sweep.keys import ConfirmKeys
from orchestrator.views.hours import cap_line, hours_json
from orchestrator.views.right_size import right_size_lines
from orchestrator.views.starts import describe_starts, start_json
from orchestrator.views.status import (
    final,
    group_lines,
    job_words,
    prospect_json,
    reason,
    stage_json,
    stage_lines,
    tuned_values,
)
from slurm.start_times import StartTime
from tracking.columns import columns
from tracking.failure_groups import group_failures
from tracking.questions.endpoint import STANDARD, Endpoint

if TYPE_CHECKING:
    from orchestrator.submit.rerun import OutdatedResults

_LAST_LINES = 4  # of an example's traceback: the place that raised, and what
_EXIT_HELD = "78"  # of a lane (`jobs.lane`)


@dataclass(frozen=True)
class PlanPreview:
    """What the next `submit` would do: send `packs`, of which `lanes` ranks train at a time.

    `at_hand` are the lanes of all stages; `change` is what separates the sweep from the recorded
    one, None before one is recorded. Power is for an `effect` in sd of paired differences;
    `additions` are for exploration only, if sent now.
    `freezes_again`: the analysis follows the sweep once more. `starts` say when jobs would start,
    `remarks` what else there is to know of the jobs.
    """

    study: Study
    status: Status
    packs: Sequence[Sequence[Trial]]
    lanes: int
    at_hand: Lanes
    change: PlanChange | None
    effect: float
    additions: Additions | None = None
    freezes_again: bool = False
    starts: Sequence[StartTime] = ()
    remarks: Sequence[str] = ()

    @cached_property
    def _pricing(self) -> Pricing:
        status = self.status
        return Pricing(
            self.study.sweep, status.stage, self.study.tuning, status.outcomes, self.at_hand
        )

    @cached_property
    def _price(self) -> Price:
        return self._pricing.price()

    @cached_property
    def _hours(self) -> StudyHours | None:
        """The hours of the study, if it has a cap of them."""
        if not self.study.sweep.keys.limits.is_capped:
            return None
        return read_hours(self.study, self.status)

    @cached_property
    def _share(self) -> SearchShare:
        return measure_share(self.study.sweep, self.status.outcomes)

    @cached_property
    def _claims(self) -> Claims:
        return compute_claims(self.study.sweep, self.effect, self._share)

    @cached_property
    def _designs(self) -> tuple[DesignPrice, ...]:
        return list_designs(self.study.sweep, self._pricing, self._share.value, self.effect)

    def to_json(self) -> dict[str, Any]:
        """Return the plan: every trial with its id and state, the packs to send, the time.

        `new` are the trials that the recorded sweep has not; it is empty before one is recorded.
        """
        keys = self.study.sweep.keys
        return {
            "study": self.study.name,
            "trials": [
                one.outcome.trial.to_json() | {"id": trial_id, "state": one.state}
                for trial_id, one in self.status.planned.items()
            ],
            "packs": [[trial.id for trial in pack] for pack in self.packs],
            "lanes": self.lanes,
            "done": self.status.done,
            "new": [] if self.change is None else list(self.change.added),
            "orphaned": [] if self.change is None else list(self.change.orphaned),
            "exploratory": [] if self.additions is None else list(self.additions.what),
            "notes": self._notes(),
            "confirms": keys.confirms and keys.confirms.model_dump() | {"alpha": keys.alpha},
            "estimated_seconds": self._price.whole.seconds,
            "estimate_is_measured": self._price.whole.measured,
            "price": {
                "unit": f"{self._price.unit} hours",
                "stages": [asdict(one) for one in self._price.stages],
                "in_all": asdict(self._price.whole),
            },
            "claims": asdict(self._claims),
            "search_share": asdict(self._share),
            "designs": [asdict(one) for one in self._designs],
            "stage": stage_json(self.status),
            "starts": [start_json(one) for one in self.starts],
            "hours": None if self._hours is None else hours_json(self._hours),
        }

    def to_text(self) -> str:
        """Return the plan as lines of label and content."""
        study, status, sweep = self.study, self.status, self.study.sweep
        lines = [
            ("study", f"{study.name}  ({study.layout.folder})"),
            ("trials", self._count_trials()),
        ]
        if (confirms := sweep.keys.confirms) is not None:
            lines.append(("confirms", _confirmation(confirms, sweep.keys.alpha)))
        lines += [("workload", f"{w.name}: {_workload(w)}") for w in sweep.workloads]
        lines += [("tuning", line) for line in _tuning(status)]
        for candidate in sweep.candidates:
            given = [select_settings(on, candidate).items() for on in sweep.workloads]
            values = dict(itertools.chain(*given)) | tuned_values(candidate)
            settings = ", ".join(f"{k}={v}" for k, v in values.items())
            lines.append(("candidate", f"{candidate.name}: {candidate.optimizer}({settings})"))
        lines += [("question", f"{one} against {base}") for one, base in sweep.questions]
        if sweep.endpoints != STANDARD:
            lines += [("endpoint", _endpoint(one, sweep.margins)) for one in sweep.endpoints]
        ranks = " ranks" * any(workload.ranks > 1 for workload in sweep.workloads)
        threads = sweep.keys.resources.cpus_per_task
        busy = f"{self.lanes}{ranks} at a time, {threads} thread{'s' * (threads > 1)} each"
        lines += [
            ("states", format_counts(status)),
            ("packs", f"{len(self.packs)} to send, {busy}" if self.packs else "nothing to send"),
            *(("time", line) for line in describe_price(self._price)),
            *(("start", line) for line in describe_starts(self.starts)),
            *([] if self._hours is None else [("cap", cap_line(self._hours))]),
            *describe_claims(self._claims),
            *describe_designs(self._designs, self._share, self._price.unit),
            *(("stage", line) for line in stage_lines(status)),
            *(("note", note) for note in self._notes()),
        ]
        return columns(lines)

    def _count_trials(self) -> str:
        sweep, blocks = self.study.sweep, self.study.sweep.keys.seeds.blocks
        sizes = len(sweep.workloads), len(sweep.candidates), len(blocks)
        shape = f"{' x '.join(map(str, sizes))} (workloads x candidates x seeds)"
        phases = [outcome.trial.phase for outcome in self.status.outcomes]
        stage = self.status.stage
        tuning = phases.count("tune") + stage.to_suggest + stage.to_suggest_later
        before = {"of tuning": tuning, "pilots": phases.count("pilot")}
        counts = [f"{math.prod(sizes)} = {shape}"]
        counts += [f"and {count} {what}" for what, count in before.items() if count]
        if self.change and self.change.added:
            counts.append(f"{len(self.change.added)} new")
        return ", ".join(counts)

    def _notes(self) -> list[str]:
        """Say what the backend has no use for, what an edit does, and what to do next."""
        notes = []
        keys = self.study.sweep.keys
        unused = backend_of(keys).ignored(self.study)
        if unused:  # the sweep may be meant for several backends
            notes.append(f"backend {keys.backend} has no use for {', '.join(unused)}: left alone")
        notes += backend_of(keys).remarks(self.study)
        notes += self.remarks
        notes += backend_of(keys).refusals(self.study)
        if self.change is not None and self.change.orphaned:
            notes.append(self.change.refusal(self.study.name))
        if self.change is not None and self.change.removed:
            notes.append(self.change.removal())
        if self.freezes_again:
            notes.append(FREEZES_AGAIN)
        if self.additions is not None:
            notes.append(str(self.additions))
        trials = [one.trial for one in self.status.outcomes]
        logged = LoggedImages(self.status.outcomes)
        notes += find_shortages(self.study.sweep.workloads, trials, logged.available)
        return notes + describe_notes(self.study, self.status)


def _endpoint(one: Endpoint, margins: Mapping[str, float]) -> str:
    margin = margins.get(one.name)
    return str(one) + ("" if margin is None else f", margin {margin:g}")


def _confirmation(confirms: ConfirmKeys, alpha: float) -> str:
    """Return what a study confirms, and at what level."""
    earlier = ", ".join(confirms.attempts)
    return (
        f"{confirms.study}, on fresh seeds and pooling nothing: attempt {len(confirms.attempts)}, "
        f"tested at {alpha:g} (earlier: {earlier}); the test data are the same"
    )


def _tuning(status: Status) -> list[str]:
    """Return the rungs at which trials of tuning may end early, workload by workload."""
    lines = {}
    for outcome in status.outcomes:
        trial, rungs = outcome.trial, outcome.trial.rungs
        if rungs is not None:
            at = " and ".join(map(str, rungs.at))
            name, unit = trial.workload.name, trial.workload.unit
            lines[name] = f"{name}: after {at} {unit}s one setting in {rungs.reduction} goes on"
    return list(lines.values())


def status_json(study: Study, status: Status) -> dict[str, Any]:
    """Return the status: counts, causes of failure, and every trial with what came of it."""
    size = find_right_size(study, status)
    return {
        "study": study.name,
        "counts": status.counts,
        "failures": [
            {key: getattr(cause, key) for key in ("kind", "error", "count")}
            | {"candidates": list(cause.candidates), "workloads": list(cause.workloads)}
            | {"example": cause.example.trial.id}
            for cause in group_failures(status.outcomes)
        ],
        "trials": [
            {
                "id": trial_id,
                "state": trial_status.state,
                "workload": trial_status.outcome.trial.workload.name,
                "candidate": trial_status.outcome.trial.candidate.name,
                "block": trial_status.outcome.trial.block,
                "attempts": trial_status.outcome.attempts,
                "error": trial_status.outcome.error,
                "metrics": dict(trial_status.outcome.metrics),
            }
            | prospect_json(trial_status)
            for trial_id, trial_status in status.planned.items()
        ],
        "stage": stage_json(status),
        "right_size": None
        if size is None
        else asdict(size) | {"lines": size.lines, "shared": size.shared},
        "jobs_alive": status.jobs_alive,
        "notes": describe_notes(study, status),
    }


def status_text(study: Study, status: Status) -> str:
    """Return the counts, a line a trial, then why some have no result and what to do."""
    lines = [f"{study.name}: {format_counts(status)}"]
    lines += [trial_line(one, by_cause=True) for one in status.planned.values()]
    size = find_right_size(study, status)
    fits = [] if size is None else right_size_lines(size)
    after = [
        *describe_failures(f"thermolion logs {study.name}", status),
        *stage_lines(status),
        *fits,
    ]
    return "\n".join([*lines, *after, *describe_notes(study, status)])


def trial_line(trial_status: TrialStatus, by_cause: bool = False) -> str:
    """Return one trial: id, state, whose it is, and what came of it.

    With `by_cause` a failed one has the class of its error: `describe_failures` has the rest.
    """
    outcome, trial = trial_status.outcome, trial_status.outcome.trial
    result = _join_ends(outcome.error) if outcome.error else final(outcome) or ""
    if by_cause and outcome.state == "failed":
        result = outcome.kind or ""
    whose = f"{trial.workload.name} / {trial.candidate.name} / block {trial.block}"
    words = reason(trial_status) or job_words(trial_status)
    ending = f"{result}  {words}".strip()
    return f"{trial.id}  {trial_status.state:<11} {whose}  {ending}".rstrip()


def _join_ends(error: str) -> str:
    """Return the first line of an error and, if it has more, the last: what a command said."""
    first, *more = error.strip().splitlines()
    return f"{first} {more[-1].strip()}" if more else first


def format_counts(status: Status) -> str:
    """Return the trials by state in words."""
    return ", ".join(f"{count} {state}" for state, count in status.counts.items())


def describe_failures(logs: str, status: Status) -> list[str]:
    """Return a paragraph for every cause of failure and every hold: how many, and an example.

    `logs` is the command that prints what a trial has printed, without its id.
    """
    paragraphs, causes = [], set()
    for cause in group_failures(status.outcomes):
        trial = cause.example.trial
        causes.add(hide_varying(cause.error))
        who = f"{', '.join(cause.candidates)} on {', '.join(cause.workloads)}"
        last = (cause.example.traceback or cause.error).rstrip().splitlines()
        shown = last[-_LAST_LINES:] if cause.example.traceback else _join_around(last)
        head = f"{cause.count} failed with {cause.kind} ({who}), for example {trial.id}:"
        more = f"all that it printed: {logs} {trial.id}"
        paragraphs.append("\n".join([head, *(f"    {line}" for line in (*shown, more))]))
    paragraphs += group_lines(status)
    holds = [one.hold for one in status.left_alone if one.hold is not None]
    held = Counter((hold.reason, hold.error) for hold in holds)
    for (because, error), count in held.items():
        is_new = error and hide_varying(error) not in causes
        paragraphs.append(f"{count} held, because {because}" + (f": {error}" if is_new else ""))
    return paragraphs


def _join_around(lines: Sequence[str]) -> list[str]:
    """Return the first line of an error and its last ones, with a mark for what is left out."""
    first, *rest = lines
    left_out = ["…"] if len(rest) > _LAST_LINES else []
    return [first, *left_out, *rest[-_LAST_LINES:]]


def describe_notes(study: Study, status: Status) -> list[str]:
    """Say what to do next, and what logs and jobs hold beyond what the sweep asks for."""
    notes = list(status.notes)
    if status.bad_nodes and status.unfinished:
        named = ", ".join(status.bad_nodes)
        notes.append(f"no job goes to {named} for a while: NODE_FAIL or GPU_FAULT there")
    if status.held_at_cap is not None:
        notes.append(status.held_at_cap)
    if status.is_cancelled and status.unfinished:
        notes.append("cancelled: nothing is sent by itself until the next `thermolion submit`")
    if status.left_alone:
        count = len(status.left_alone)
        which = "1 trial failed or held is" if count == 1 else f"{count} trials failed or held are"
        notes.append(
            f"{which} left alone: mend it, then "
            f"thermolion retry {study.name} (if it was the sweep file: thermolion submit FILE)"
        )
    if status.unplanned:
        notes.append(
            f"{len(status.unplanned)} recorded trials are not in this sweep: it was edited since; "
            "their results stay in the logs and out of the comparison"
        )
    if status.strays:
        notes.append(
            f"{quantity(status.strays, 'trial')} that this sweep does not ask for "
            f"{are(status.strays)} still with living jobs: cancel, then submit, to be rid of them"
        )
    return notes


def outdated_line(outdated: "OutdatedResults", what: str) -> str:
    """Say how many results other code has made, and what becomes of them."""
    if not outdated.trials:
        return f"the code has not changed: all {outdated.results} results are of the present one"
    count = len(outdated.trials)
    return f"{count} of {outdated.results} results are of other code: {what}; the logs keep them"


def describe_exit(code: str) -> str:
    """Return the exit code of a lane in words."""
    held = " (held: its first trials failed alike)" if code == _EXIT_HELD else ""
    return f"exit code {code}{held}"


def _workload(workload: Workload) -> str:
    parts = list(workload.references.values())
    if workload.budget is not None:
        parts.append(f"{workload.budget} {workload.unit}s")
    if workload.global_batch is not None:
        parts.append(f"batch {workload.global_batch}")
    if workload.ranks > 1:
        parts.append(f"{workload.ranks} ranks")
    if isinstance(workload, ImageWorkload):
        parts += workload.evaluate.describe()
    return ", ".join(parts)
