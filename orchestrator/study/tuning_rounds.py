"""The decisions on the tuning of a study: widened searches, suggested settings, winners.

Read from `decisions/`; decides nothing. There is a file for every time that the search was widened
(`tuning-1.json`) or that settings were suggested (`suggested-1.json`), one for the winners
(`winners.json`), and one for the winners of candidates or workloads that were added later
(`winners-2.json`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Workload
from orchestrator.study.decisions import read_numbered
from orchestrator.sweep.search_space import Axis, Search, TunedCandidate

Place = tuple[str, str]  # workload and candidate, by content: other names change nothing


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

    @property
    def rounds(self) -> int:
        """The number of rounds by now; every candidate gets its trials in each."""
        return 1 + len(self.widenings)

    @cached_property
    def chosen(self) -> Mapping[Place, Mapping[str, Any]]:
        """The records of the winners, by place."""
        return {
            (one["of"], one["key"]): one for record in self.winners for one in record["chosen"]
        }

    def winner(self, workload: Workload, candidate: TunedCandidate) -> Candidate | None:
        """Return a candidate with the settings that won on a workload; None while that is open."""
        record = self.chosen.get(place_of(workload, candidate))
        return None if record is None else candidate.with_values(record["values"])

    def axis(self, candidate: TunedCandidate, number: int) -> Axis | None:
        """Return the widened learning rates of a round, from 1; None if they are as declared."""
        widened = [record["widened"].get(candidate.key) for record in self.widenings[: number - 1]]
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
                suggested.setdefault((one["of"], one["key"]), {}).update(numbered)
        return suggested

    def settings(self, candidate: TunedCandidate, workload: Workload) -> list[Candidate]:
        """Return the settings of all rounds on a workload, in order, as far as they are known."""
        suggested = self.suggested.get(place_of(workload, candidate), {})
        settings = []
        for number in range(1, self.rounds * candidate.search.trials + 1):
            if candidate.search.is_drawn(number):
                round_ = 1 + (number - 1) // candidate.search.trials
                settings.append(candidate.setting(number, self.axis(candidate, round_)))
            elif number in suggested:
                settings.append(candidate.make_setting(number, suggested[number]))
        return settings

    def unsuggested(self, candidate: TunedCandidate, workload: Workload) -> list[int]:
        """Return the numbers of the settings of all rounds that are still to be suggested."""
        suggested = self.suggested.get(place_of(workload, candidate), {})
        numbers = range(1, self.rounds * candidate.search.trials + 1)
        return [n for n in numbers if not candidate.search.is_drawn(n) and n not in suggested]


NO_TUNING = Tuning()


def place_of(workload: Workload, candidate: Candidate) -> Place:
    """Return for what a winner is chosen: a workload as tuning sees it, and a candidate."""
    search = candidate.search if isinstance(candidate, TunedCandidate) else None
    return tuning_key(workload, search), candidate.key


def tuning_key(workload: Workload, search: Search | None) -> str:
    """Return the workload as tuning sees it: content, precision and the ranks of tuning trials."""
    ranks = (search.ranks if search else None) or workload.ranks
    return f"{workload.key}/{workload.precision}/{ranks}"


def widening_name(number: int) -> str:
    return f"tuning-{number}"


def suggested_name(number: int) -> str:
    return f"suggested-{number}"


def winners_name(number: int) -> str:
    return "winners" if number == 1 else f"winners-{number}"
