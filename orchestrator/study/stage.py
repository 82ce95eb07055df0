"""The stage of a study: which of its trials are wanted now, which later, which never.

It follows from the plan and the decisions on disk; makes no decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Trial
from orchestrator.study.decisions import read_decision, read_numbered
from orchestrator.study.study import Study
from orchestrator.study.tuning_rounds import place_of
from orchestrator.sweep.search_space import TunedCandidate
from tracking.compare.analysis import Analysis, FrozenVersion, content_hash

Wanted = Literal["now", "later", "spared"]

ANALYSIS, TARGETS = "analysis", "targets"


@dataclass(frozen=True)
class FrozenAnalysis:
    """The analysis as it was frozen last, when `started` comparison trials had logged a metric.

    `versions` are all that were frozen, this one last. `edited` are the files that do not have the
    hash any more that was written with them.
    """

    analysis: Analysis
    hash: str
    time_ms: int
    started: int
    versions: tuple[FrozenVersion, ...]
    edited: tuple[str, ...] = ()

    @staticmethod
    def read(layout: Layout) -> "FrozenAnalysis | None":
        records = read_numbered(layout, name_analysis)
        if not records:
            return None
        names = [f"{name_analysis(number)}.json" for number in range(1, len(records) + 1)]
        hashes = [content_hash(record["analysis"]) for record in records]
        return FrozenAnalysis(
            analysis=Analysis.from_json(records[-1]["analysis"]),
            hash=records[-1]["hash"],
            time_ms=records[-1]["time_ms"],
            started=records[-1]["started"],
            versions=tuple(
                FrozenVersion(name, record["hash"], record["time_ms"], record.get("why", ""))
                for name, record in zip(names, records, strict=True)
            ),
            edited=tuple(
                name
                for name, record, now in zip(names, records, hashes, strict=True)
                if record["hash"] != now
            ),
        )


def name_analysis(number: int) -> str:
    """Return the name of the decision that froze an analysis for the `number`-th time."""
    return ANALYSIS if number == 1 else f"{ANALYSIS}-{number}"


@dataclass(frozen=True)
class Stage:
    """The decisions of a study so far.

    `looks` are rising numbers of blocks from `first` on, those of the frozen analysis if there is
    one; `decisions` are those of the looks, in order. `awaits_targets`: pilots have to end before
    anything is compared; `awaits_winners`: some candidate's settings are not chosen yet. `tuned`
    has the keys of tuned candidates as declared, by name; their trials have other keys.
    `to_suggest` counts the tuning trials whose settings depend on the results of others.
    """

    frozen: FrozenAnalysis | None
    looks: tuple[int, ...]
    decisions: Sequence[Mapping[str, Any]]
    awaits_targets: bool
    targets: Mapping[str, float | None]
    awaits_winners: bool = False
    tuned: Mapping[str, str] = field(default_factory=dict)
    to_suggest: int = 0
    first: int = 0

    @staticmethod
    def read(
        layout: Layout,
        looks: tuple[int, ...],
        has_pilots: bool,
        first: int = 0,
        amended: Analysis | None = None,
    ) -> "Stage":
        frozen = FrozenAnalysis.read(layout)
        if frozen is not None and amended is not None:
            frozen = replace(frozen, analysis=amended)
        in_force = looks if frozen is None else frozen.analysis.looks
        targets = read_decision(layout, TARGETS)
        return Stage(
            frozen=frozen,
            looks=in_force,
            decisions=read_numbered(layout, "look-{}".format)[: len(in_force)],
            awaits_targets=has_pilots and targets is None,
            targets={} if targets is None else targets["targets"],
            first=first if frozen is None else min(frozen.analysis.blocks),
        )

    @property
    def is_over(self) -> bool:
        """True if no look is left to be taken."""
        stopped = bool(self.decisions) and not self.decisions[-1]["go_on"]
        return stopped or len(self.decisions) == len(self.looks)

    @property
    def is_settled(self) -> bool:
        """True if nothing is left to be decided."""
        return self.is_over and not self.awaits_targets and not self.awaits_winners

    @property
    def next_look(self) -> int | None:
        """The number of the look that is to be decided next, from 1."""
        return None if self.is_over else len(self.decisions) + 1

    def wanted(self, trial: Trial) -> Wanted:
        """Return when a trial is to run, `spared` for never; one that no look sees runs now."""
        if trial.phase == "tune":
            return "now"
        if self.awaits_winners and self.frozen is None:
            return "later"
        if trial.phase == "pilot":
            return "now"
        if self.awaits_targets:
            return "later"
        look, key = self._look_of(trial), self.key_of(trial.candidate)
        if look is None or look <= self._released(key):
            return "now"
        stopped = self.is_over or key in self.ended
        return "spared" if stopped else "later"

    def is_of_look(self, trial: Trial, look: int) -> bool:
        """Return True if a look sees a trial's block and its candidate was not stopped before."""
        if trial.phase != "compare" or not self._is_confirmatory(trial):
            return False
        of = self._look_of(trial)
        return of is not None and of <= min(look, self._released(self.key_of(trial.candidate)))

    def key_of(self, candidate: Candidate) -> str:
        """Return the key that a candidate has in the frozen analysis."""
        return self.tuned.get(candidate.name, candidate.key)

    @cached_property
    def ended(self) -> Mapping[str, int]:
        """The look after which a candidate was given no more seeds, by its key."""
        ended: dict[str, int] = {}
        for number, decision in enumerate(self.decisions, 1):
            for key in decision["stopped"]:
                ended.setdefault(key, number)
        return ended

    def _released(self, candidate: str) -> int:
        """Return the last look whose seeds a candidate is given."""
        latest = len(self.decisions) + (0 if self.is_over else 1)
        return min(self.ended.get(candidate, latest), latest)

    def _look_of(self, trial: Trial) -> int | None:
        """Return the first look that sees the block of a trial; None if there is none."""
        place = trial.block - self.first
        return next((k for k, seeds in enumerate(self.looks, 1) if 0 <= place < seeds), None)

    def _is_confirmatory(self, trial: Trial) -> bool:
        if self.frozen is None:
            return True
        analysis = self.frozen.analysis
        return (
            trial.workload.key in analysis.workloads.values()
            and self.key_of(trial.candidate) in analysis.candidates.values()
        )


NO_STAGE = Stage(None, (), (), False, {})


def read_stage(study: Study, amended: Analysis | None = None) -> tuple[Stage, tuple[Trial, ...]]:
    """Return the stage of a study, and the trials that are planned at it.

    `amended` is the analysis that is to be frozen in the place of what is.
    """
    tuning, trials = study.tuning, study.trials
    has_pilots = any(trial.phase == "pilot" for trial in trials)
    seeds = study.sweep.keys.seeds
    stage = Stage.read(study.layout, seeds.looks, has_pilots, seeds.first, amended)
    tuned = [one for one in study.sweep.candidates if isinstance(one, TunedCandidate)]
    places = {
        place_of(workload, one): (one, workload)
        for workload in study.sweep.workloads
        for one in tuned
    }
    undecided = places.keys() - tuning.chosen.keys()
    to_suggest = sum(len(tuning.unsuggested(*places[at])) for at in undecided)
    stage = replace(
        stage,
        awaits_winners=bool(undecided),
        tuned={one.name: one.key for one in tuned},
        to_suggest=to_suggest * (study.sweep.keys.tune.seeds if study.sweep.keys.tune else 0),
    )
    return stage, trials
