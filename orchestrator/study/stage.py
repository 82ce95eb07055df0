"""The stage of a study: which of its trials are wanted now, which later, which never.

It follows from the plan and the decisions on disk; makes no decision.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Trial
from jobs.contract.workloads.workload import Workload
from orchestrator.study.decisions import name_analysis, read_decision, read_numbered
from orchestrator.study.study import Study
from orchestrator.study.trials import count_pilots, list_runs
from orchestrator.study.tuning_rounds import place_of
from orchestrator.sweep.search_space import TunedCandidate
from tracking.questions.analysis import Analysis, FrozenVersion, content_hash

Wanted = Literal["now", "later", "spared"]

TARGETS = "targets"


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


@dataclass(frozen=True)
class OpenSettings:
    """Settings of one candidate, by its key, that a search has still to choose.

    `block` is the first one that is to have them. Several `workloads` are tuned as one if they
    differ in ranks alone. `to_suggest` counts trials whose settings depend on the results of
    others. `alone`: the search has chosen for other candidates before.
    """

    candidate: str
    block: int
    workloads: tuple[Workload, ...]
    to_suggest: int
    alone: bool


@dataclass(frozen=True)
class ClosedLook:
    """A look that the user has ended with trials missing, at a time (UTC ms).

    `missing` are those trials by id, with the class of their last failure, None if they had not
    failed. What comes of them later takes no part.
    """

    time_ms: int
    missing: Mapping[str, str | None]

    @staticmethod
    def read(layout: Layout, number: int) -> "ClosedLook | None":
        record = read_decision(layout, name_closed_look(number))
        if record is None:
            return None
        missing = {one["trial"]: one["failure"] for one in record["missing"]}
        return ClosedLook(record["time_ms"], missing)


def name_closed_look(number: int) -> str:
    """Return the name of the decision that ended the `number`-th look with trials missing."""
    return f"closed-look-{number}"


@dataclass(frozen=True)
class Stage:
    """The decisions of a study so far.

    `looks` are rising numbers of blocks from `first` on, those of the frozen analysis if there is
    one; `decisions` are those of the looks, in order. `awaits_targets`: pilots have to end before
    anything is compared. `tuned` has the keys of tuned candidates as declared, by name; their
    trials have other keys. A workload has `searches`, numbered from `first_search`; what they have
    still to choose is `open`, whether it is looked for now or not. `closed` has, by number, the
    looks that were ended with trials missing; without looks there is one.
    """

    frozen: FrozenAnalysis | None
    looks: tuple[int, ...]
    decisions: Sequence[Mapping[str, Any]]
    awaits_targets: bool
    targets: Mapping[str, float | None]
    tuned: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    searches: int = 1
    first_search: int = 0
    open: tuple[OpenSettings, ...] = ()
    closed: Mapping[int, ClosedLook] = field(default_factory=dict)

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
        numbers = range(1, max(1, len(in_force)) + 1)
        closed = {number: ClosedLook.read(layout, number) for number in numbers}
        return Stage(
            frozen=frozen,
            looks=in_force,
            decisions=read_numbered(layout, "look-{}".format)[: len(in_force)],
            awaits_targets=has_pilots and targets is None,
            targets={} if targets is None else targets["targets"],
            first=first if frozen is None else min(frozen.analysis.blocks),
            closed={number: one for number, one in closed.items() if one is not None},
        )

    @property
    def is_over(self) -> bool:
        """True if no look is left to be taken."""
        stopped = bool(self.decisions) and not self.decisions[-1]["go_on"]
        return stopped or len(self.decisions) == len(self.looks)

    @property
    def awaits_winners(self) -> bool:
        """True if settings are looked for now: tuning is not over, as far as it has begun."""
        return bool(self._awaited)

    @property
    def to_suggest(self) -> int:
        """The number of tuning trials of the present searches that are still to be suggested."""
        return sum(one.to_suggest for one in self._awaited)

    @property
    def to_suggest_later(self) -> int:
        """The number of such trials of searches that only a later look needs."""
        later = [one for one in self.open if self._wanted_at(one.candidate, one.block) == "later"]
        return sum(one.to_suggest for one in later)

    @property
    def spared_settings(self) -> Sequence[OpenSettings]:
        """The settings that no search will choose, since no look is left that compares them."""
        return [one for one in self.open if self._wanted_at(one.candidate, one.block) == "spared"]

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
        key = self.key_of(trial.candidate)
        if trial.phase == "tune":  # a search is wanted as the first block that it is for
            number = TunedCandidate.search_of(trial.candidate)
            return self._wanted_at(key, self.first_block(number - self.first_search))
        if trial.phase == "pilot":
            return "now"
        searched = (trial.workload.name, trial.block % self.searches) in self._searched
        if self.awaits_targets or searched:
            return "later"
        if trial.id in self.left_out:
            return "spared"
        return self._wanted_at(key, trial.block)

    def lacks_settings(self, look: int) -> bool:
        """Return True if some settings that a look compares are still to be chosen."""
        return any(
            self._is_declared(workload, one.candidate)
            and (of := self._look_of(one.block)) is not None
            and of <= min(look, self._released(one.candidate))
            for one in self.open
            for workload in one.workloads
        )

    def is_of_look(self, trial: Trial, look: int) -> bool:
        """Return True if a look sees a trial's block and its candidate was not stopped before."""
        if trial.phase != "compare" or not self._is_confirmatory(trial):
            return False
        of = self._look_of(trial.block)
        return of is not None and of <= min(look, self._released(self.key_of(trial.candidate)))

    def key_of(self, candidate: Candidate) -> str:
        """Return the key that a candidate has in the frozen analysis."""
        return self.tuned.get(candidate.declared, candidate.key)

    @cached_property
    def ended(self) -> Mapping[str, int]:
        """The look after which a candidate was given no more seeds, by its key."""
        ended: dict[str, int] = {}
        for number, decision in enumerate(self.decisions, 1):
            for key in decision["stopped"]:
                ended.setdefault(key, number)
        return ended

    @cached_property
    def left_out(self) -> Mapping[str, str | None]:
        """The trials that were missing when their look was closed, with the class of failure."""
        return {trial: kind for one in self.closed.values() for trial, kind in one.missing.items()}

    @cached_property
    def _awaited(self) -> Sequence[OpenSettings]:
        return [one for one in self.open if self._wanted_at(one.candidate, one.block) == "now"]

    @cached_property
    def _searched(self) -> frozenset[tuple[str, int]]:
        """The workloads, by name, and searches, by their place, that have not chosen yet."""
        return frozenset(
            (workload.name, one.block % self.searches)
            for one in self._awaited
            if not one.alone
            for workload in one.workloads
        )

    def _wanted_at(self, candidate: str, block: int) -> Wanted:
        """Return when a candidate, by its key, is wanted on a block."""
        look = self._look_of(block)
        if look is None or look <= self._released(candidate):
            return "now"
        return "spared" if self.is_over or candidate in self.ended else "later"

    def _released(self, candidate: str) -> int:
        """Return the last look whose seeds a candidate is given."""
        latest = len(self.decisions) + (0 if self.is_over else 1)
        return min(self.ended.get(candidate, latest), latest)

    def _look_of(self, block: int) -> int | None:
        """Return the first look that sees a block; None if there is none."""
        place = block - self.first
        return next((k for k, seeds in enumerate(self.looks, 1) if 0 <= place < seeds), None)

    def first_block(self, place: int) -> int:
        """Return the first block that has the settings of the search at a place."""
        return self.first + (place - self.first) % self.searches

    def _is_confirmatory(self, trial: Trial) -> bool:
        return self._is_declared(trial.workload, self.key_of(trial.candidate))

    def _is_declared(self, workload: Workload, candidate: str) -> bool:
        """Return True if both are of the frozen analysis, or nothing is frozen."""
        if self.frozen is None:
            return True
        analysis = self.frozen.analysis
        of_analysis = workload.key in analysis.workloads.values()
        return of_analysis and candidate in analysis.candidates.values()


NO_STAGE = Stage(None, (), (), False, {})


def read_stage(study: Study, amended: Analysis | None = None) -> tuple[Stage, tuple[Trial, ...]]:
    """Return the stage of a study, and the trials that are planned at it.

    `amended` is the analysis that is to be frozen in the place of what is.
    """
    sweep, trials = study.sweep, study.trials
    seeds = sweep.keys.seeds
    stage = Stage.read(study.layout, seeds.looks, count_pilots(sweep) > 0, seeds.first, amended)
    tune = sweep.keys.tune
    if tune is None:
        return stage, trials
    tuned = [one for one in sweep.candidates if isinstance(one, TunedCandidate)]
    stage = replace(
        stage,
        tuned={one.name: one.key for one in tuned},
        searches=sweep.searches,
        first_search=tune.first_search,
    )
    return replace(stage, open=tuple(_find_open(study, stage, tuned, tune.seeds))), trials


def _find_open(
    study: Study, stage: Stage, tuned: Sequence[TunedCandidate], seeds: int
) -> Iterator[OpenSettings]:
    tuning = study.tuning
    by_name = {one.name: one for one in study.sweep.workloads}
    workloads: dict[tuple[str, int], list[Workload]] = {}
    runs = list_runs(study.sweep)
    for (name, place), run in runs.items():
        workloads.setdefault((run.of, place), []).append(by_name[name])
    searches = {(run.of, place): run for (_, place), run in runs.items()}
    for (of, place), run in searches.items():
        for one in tuned:
            if place_of(run, one) not in tuning.chosen:
                yield OpenSettings(
                    one.key,
                    stage.first_block(place),
                    tuple(workloads[of, place]),
                    len(tuning.unsuggested(one, run)) * seeds,
                    (of, run.number) in tuning.decided,
                )
