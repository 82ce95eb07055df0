"""What a sweep asks for too late: seeds, candidates and edits that are for exploration only.

Says it before anything is sent, with the ways out; decides nothing.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from jobs.contract.quantities import quantity
from orchestrator.results.preregister import (
    Measured,
    amend,
    awaits_decisions,
    declare_analysis,
    describe_edits,
    format_numbers,
    rename_analysis,
)
from orchestrator.study.stage import Stage
from orchestrator.study.study import Study
from tracking.questions.analysis import find_added

FREEZES_AGAIN = (
    "this edit is frozen anew by the next `submit` or `run`, and counts: nothing that it changes "
    "has been measured yet"
)


@dataclass(frozen=True)
class Additions:
    """What a sweep asks for that is for exploration only, by what is frozen and measured now.

    `what` has a phrase for each; `frozen_ms` is when the analysis was frozen (UTC), and `measured`
    the number of comparison trials with results since. `looks` are those that would have been the
    way to have more seeds; empty if no seeds were added.
    """

    what: tuple[str, ...]
    frozen_ms: int
    measured: int
    looks: tuple[int, ...]

    def __str__(self) -> str:
        date = datetime.fromtimestamp(self.frozen_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        early = ""
        if self.looks:
            early = (
                f"declare `seeds: {{looks: {list(self.looks)}}}` from the start of a study, or "
            )
        have = "has" if self.measured == 1 else "have"
        return (
            f"for exploration only: {'; '.join(self.what)}. The analysis was frozen {date}, and "
            f"{quantity(self.measured, 'trial')} of the comparison {have} results since: "
            "what is chosen after looking at results proves nothing. To have it count, "
            f"{early}ask again on fresh seeds, in a study of its own: the same command "
            "with --confirm NEW_STUDY"
        )


def list_additions(study: Study, stage: Stage) -> Additions | None:
    """Return what would not count if the sweep were sent now; None if all of it would."""
    if stage.frozen is None or not study.sweep.questions:
        return None
    frozen, declared = stage.frozen.analysis, declare_analysis(study, stage.targets)
    if awaits_decisions(stage):
        declared = replace(declared, targets=frozen.targets)
    today = rename_analysis(amend(study, stage) or frozen, declared)
    what = []
    seeds = sorted(set(declared.blocks) - set(today.blocks))
    if seeds:
        what.append(f"seeds {format_numbers(seeds)}")
    added = find_added(today.workloads, declared.workloads)
    what += [f"workload {name}" for name in declared.workloads if name in added]
    what += [
        f"{one.candidate} vs {one.baseline}"
        for one in declared.questions
        if one not in today.questions
    ]
    what += describe_edits(today, declared)
    if not what:
        return None
    before = today.looks or (len(today.blocks),)
    more = (*before, len(declared.blocks)) if seeds else ()
    return Additions(tuple(what), stage.frozen.time_ms, Measured.read(study, stage).trials, more)
