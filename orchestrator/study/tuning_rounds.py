"""The decisions on the tuning of a study: widened searches, suggested settings, winners.

Read from `decisions/`; decides nothing. Every search on a workload widens, suggests and chooses by
itself; a file has what was decided of all of them at one time: `tuning-1.json` what was widened,
`suggested-1.json` what is tried next, `winners.json` and `winners-2.json` what was chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate
from orchestrator.study.decisions import read_numbered
from orchestrator.sweep.search_space import Axis, SearchRun, TunedCandidate

# Workload and candidate, by content, so that other names change nothing, and search.
Place = tuple[str, str, int]

_EVERY = "*"  # an early version widened the one search of every workload at once


@dataclass(frozen=True)
class Tuning:
    """The decisions on the tuning of a study, each kind in its order."""

    widenings: Sequence[Mapping[str, Any]] = ()
    winners: Sequence[Mapping[str, Any]] = ()
    suggestions: Sequence[Mapping[str, Any]] = ()

    @staticmethod
    def read(layout: Layout) -> "Tuning":
        names = (widening_name, winners_name, suggested_name)
        return Tuning(*(read_numbered(layout, name) for name in names))

    def rounds(self, run: SearchRun) -> int:
        """Return the rounds of a search by now; every candidate gets its trials in each."""
        return 1 + len(self._widenings_of(run))

    @cached_property
    def chosen(self) -> Mapping[Place, Mapping[str, Any]]:
        """The records of the winners, by place."""
        return {
            (one["of"], one["key"], one.get("search", 0)): one
            for record in self.winners
            for one in record["chosen"]
        }

    @cached_property
    def decided(self) -> frozenset[tuple[str, int]]:
        """The searches that have chosen, by workload and number: none of them is widened again."""
        return frozenset((of, number) for of, _, number in self.chosen)

    def axis(self, candidate: TunedCandidate, run: SearchRun, number: int) -> Axis | None:
        """Return the widened learning rates of a round, from 1; None if they are as declared."""
        widened = [ends.get(candidate.key) for ends in self._widenings_of(run)[: number - 1]]
        ends = next((ends for ends in reversed(widened) if ends is not None), None)
        if ends is None:
            return None
        return replace(candidate.search.space["lr"], low=ends[0], high=ends[1])

    @cached_property
    def suggested(self) -> Mapping[Place, Mapping[int, Mapping[str, Any]]]:
        """The values of the suggested settings, by place and number."""
        suggested: dict[Place, dict[int, Mapping[str, Any]]] = {}
        for record in self.suggestions:
            for one in record["settings"]:
                numbered = dict(enumerate(one["values"], one["first"]))
                place = (one["of"], one["key"], one.get("search", 0))
                suggested.setdefault(place, {}).update(numbered)
        return suggested

    def settings(self, candidate: TunedCandidate, run: SearchRun) -> list[Candidate]:
        """Return the settings of all rounds of a search, in order, as far as they are known."""
        suggested = self.suggested.get(place_of(run, candidate), {})
        settings = []
        for number in range(1, self.rounds(run) * candidate.search.trials + 1):
            if candidate.search.is_drawn(number):
                axis = self.axis(candidate, run, 1 + (number - 1) // candidate.search.trials)
                settings.append(candidate.setting(number, axis, run))
            elif number in suggested:
                settings.append(candidate.make_setting(number, suggested[number], run.number))
        return settings

    def unsuggested(self, candidate: TunedCandidate, run: SearchRun) -> list[int]:
        """Return the numbers of the settings of all rounds that are still to be suggested."""
        suggested = self.suggested.get(place_of(run, candidate), {})
        numbers = range(1, self.rounds(run) * candidate.search.trials + 1)
        return [n for n in numbers if not candidate.search.is_drawn(n) and n not in suggested]

    def _widenings_of(self, run: SearchRun) -> list[Mapping[str, Any]]:
        """Return the widened ends of a search, round by round, each by the key of a candidate."""
        early = self._widened.get((_EVERY, run.number), [])
        return early + self._widened.get((run.of, run.number), [])

    @cached_property
    def _widened(self) -> Mapping[tuple[str, int], list[Mapping[str, Any]]]:
        widened: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
        for record in self.widenings:
            for one in record.get("searches") or [{"of": _EVERY, "widened": record["widened"]}]:
                place = one["of"], one.get("search", 0)
                widened.setdefault(place, []).append(one["widened"])
        return widened


NO_TUNING = Tuning()


def place_of(run: SearchRun, candidate: Candidate) -> Place:
    """Return for what a winner is chosen: a workload as tuning sees it, a candidate, a search."""
    return run.of, candidate.key, run.number


def widening_name(number: int) -> str:
    return f"tuning-{number}"


def suggested_name(number: int) -> str:
    return f"suggested-{number}"


def winners_name(number: int) -> str:
    return "winners" if number == 1 else f"winners-{number}"
