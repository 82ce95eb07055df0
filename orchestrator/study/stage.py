"""At which stage a study is: which of its trials are wanted now, which later, which never.

A pure function of the plan and of the decisions that are on disk; makes none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Trial
from orchestrator.study.decisions import read_decision
from orchestrator.study.study import Study
from orchestrator.study.tuning_rounds import place_of
from orchestrator.sweep.search_space import TunedCandidate
from tracking.compare.analysis import Analysis, content_hash

Wanted = Literal["now", "later", "spared"]

ANALYSIS, TARGETS = "analysis", "targets"


@dataclass(frozen=True)
class FrozenAnalysis:
    """The analysis as it was frozen, when `started` trials of the comparison had begun."""

    analysis: Analysis
    hash: str
    time_ms: int
    started: int
    is_whole: bool

    @staticmethod
    def read(layout: Layout) -> "FrozenAnalysis | None":
        record = read_decision(layout, ANALYSIS)
        if record is None:
            return None
        written = record["analysis"]
        return FrozenAnalysis(
            analysis=Analysis.from_json(written),
            hash=record["hash"],
            time_ms=record["time_ms"],
            started=record["started"],
            is_whole=content_hash(written) == record["hash"],
        )


@dataclass(frozen=True)
class Stage:
    """What has been decided of a study.

    `looks` are rising numbers of blocks, those of the frozen analysis where there is one;
    `decisions` are of the looks that are decided, in order. `awaits_targets`: pilots have to end
    before anything is compared; `awaits_winners`: some candidate's settings are not chosen yet.
    `tuned` has the keys of declared candidates by name, where that of their trials is another one.
    `to_suggest` counts the tuning trials whose settings depend on how others fare.
    """

    frozen: FrozenAnalysis | None
    looks: tuple[int, ...]
    decisions: Sequence[Mapping[str, Any]]
    awaits_targets: bool
    targets: Mapping[str, float | None]
    awaits_winners: bool = False
    tuned: Mapping[str, str] = field(default_factory=dict)
    to_suggest: int = 0

    @staticmethod
    def read(layout: Layout, looks: tuple[int, ...], has_pilots: bool) -> "Stage":
        frozen = FrozenAnalysis.read(layout)
        in_force = looks if frozen is None else frozen.analysis.looks
        decisions: list[Mapping[str, Any]] = []
        for number in range(1, len(in_force) + 1):
            decision = read_decision(layout, f"look-{number}")
            if decision is None:
                break
            decisions.append(decision)
        targets = read_decision(layout, TARGETS)
        return Stage(
            frozen=frozen,
            looks=in_force,
            decisions=decisions,
            awaits_targets=has_pilots and targets is None,
            targets={} if targets is None else targets["targets"],
        )

    @property
    def is_over(self) -> bool:
        """Whether no look is left to be taken."""
        stopped = bool(self.decisions) and not self.decisions[-1]["go_on"]
        return stopped or len(self.decisions) == len(self.looks)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be decided."""
        return self.is_over and not self.awaits_targets and not self.awaits_winners

    @property
    def next_look(self) -> int | None:
        """The number of the look that is to be decided next, from 1."""
        return None if self.is_over else len(self.decisions) + 1

    def wanted(self, trial: Trial) -> Wanted:
        """Say whether a trial is to run. What was added after the freezing always is."""
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
        """Whether a look rests on a trial: on its block, if its candidate has gone on so far."""
        if trial.phase != "compare" or not self._is_agreed(trial):
            return False
        of = self._look_of(trial)
        return of is not None and of <= min(look, self._released(self.key_of(trial.candidate)))

    def key_of(self, candidate: Candidate) -> str:
        """Return the key by which a candidate was agreed on."""
        return self.tuned.get(candidate.name, candidate.key)

    @cached_property
    def ended(self) -> Mapping[str, int]:
        """After which look a candidate, by key, was sent no more seeds."""
        ended: dict[str, int] = {}
        for number, decision in enumerate(self.decisions, 1):
            for key in decision["stopped"]:
                ended.setdefault(key, number)
        return ended

    def _released(self, candidate: str) -> int:
        """Return up to which look a candidate has been sent."""
        latest = len(self.decisions) + (0 if self.is_over else 1)
        return min(self.ended.get(candidate, latest), latest)

    def _look_of(self, trial: Trial) -> int | None:
        """Return the first look that sees a block; None where there is none."""
        return next((k for k, seeds in enumerate(self.looks, 1) if trial.block < seeds), None)

    def _is_agreed(self, trial: Trial) -> bool:
        if self.frozen is None:
            return True
        agreed = self.frozen.analysis
        return (
            trial.workload.key in agreed.workloads.values()
            and self.key_of(trial.candidate) in agreed.candidates.values()
        )


NO_STAGE = Stage(None, (), (), False, {})


def read_stage(study: Study) -> tuple[Stage, tuple[Trial, ...]]:
    """Return at which stage a study is, and the trials that are planned at it."""
    tuning, trials = study.tuning, study.trials
    stage = Stage.read(study.layout, study.sweep.keys.seeds.looks, has_pilots(trials))
    tuned = [one for one in study.sweep.candidates if isinstance(one, TunedCandidate)]
    places = {
        place_of(workload, one): (one, workload)
        for workload in study.sweep.workloads
        for one in tuned
    }
    to_suggest = sum(
        len(tuning.unsuggested(*places[at])) for at in places.keys() - tuning.chosen.keys()
    )
    stage = replace(
        stage,
        awaits_winners=bool(places.keys() - tuning.chosen.keys()),
        tuned={one.name: one.key for one in tuned},
        to_suggest=to_suggest * (study.sweep.keys.tune.seeds if study.sweep.keys.tune else 0),
    )
    return stage, trials


def has_pilots(trials: Iterable[Trial]) -> bool:
    """Whether anything is to be piloted."""
    return any(trial.phase == "pilot" for trial in trials)
