"""The analysis of a study as declared before its trials: the questions, and the tests of them.

A record with a hash of its own, which is printed and which the study is checked against. Decides
nothing, and needs no scipy.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jobs.contract.content import canonical_json
from tracking.metric import PP
from tracking.questions.endpoint import LOG_FACTOR, STANDARD, Endpoint

if TYPE_CHECKING:
    from tracking.stats.group_sequential import Shape


@dataclass(frozen=True)
class Question:
    """The question if `candidate` is better than `baseline`; both are names of candidates."""

    candidate: str
    baseline: str


MIXED_UNITS = "mixed"  # the unit of what could not be pooled

ALPHA = 0.05
ROPE_PP = 0.2  # differences of accuracy below this are of no practical interest

# What the verdicts are about: the mean difference, or the share of blocks that are won.
Primary = Literal["mean", "win_probability"]


@dataclass(frozen=True)
class Margins:
    """Below which differences are of no practical interest: of equivalence.

    `rope_pp` is that of endpoints in percentage points; `own` has, by the name of an endpoint,
    what is declared for it alone, in its own unit; of a time it is a factor above 1.
    """

    rope_pp: float = ROPE_PP
    own: Mapping[str, float] = field(default_factory=dict)

    def of(self, endpoint: Endpoint, unit: str) -> float | None:
        """Return the margin of an endpoint in a `unit`; None without one, and of mixed units."""
        if unit == MIXED_UNITS:
            return None
        own = self.own.get(endpoint.name, self.rope_pp if unit == PP else None)
        return math.log(own) if own is not None and unit == LOG_FACTOR else own


EXCLUSIONS = (
    "a trial that diverged counts as chance, its curve with chance from there on",
    "a trial that failed runs again with its own seeds; without a result its block is left out",
    "an arm that lost trials to an exception, memory or time is not called better or equivalent",
    "a word needs five units in all, and three on each workload",
    "a verdict that does not stand without the blocks of diverged trials is undecided",
)
EXCLUSIONS_FROM_WINS = (
    "a trial that diverged loses to one that did not; two that diverged are tied",
    EXCLUSIONS[1],
    "an arm that lost trials to an exception, memory or time is not said to win more often",
    EXCLUSIONS[-2],
)


@dataclass(frozen=True)
class Analysis:
    """All choices that verdicts depend on, made before there were any results.

    `blocks` are seed indices; `looks` rising numbers of seeds, empty if there is one look at all
    of them. `workloads` and `candidates` are keys of content by name; `targets` are by
    workload, in the scale of its metric, None if there is none. `tuning` is the rule by which
    settings are found: how many searches (`repeats`), of whom, in what spaces; None if nothing is
    tuned. What they find is not part of it: each winner is a decision of its own. `margins` are by
    endpoint, in its unit; without one it has `rope_pp` if that is percentage points. `confirms`
    are the studies that have asked these questions before, the oldest first; `alpha` is then that
    of this attempt.
    """

    questions: tuple[Question, ...]
    workloads: Mapping[str, str]
    candidates: Mapping[str, str]
    blocks: tuple[int, ...]
    root_seed: int = 0
    looks: tuple[int, ...] = ()
    shape: "Shape" = "obrien-fleming"
    endpoints: tuple[Endpoint, ...] = STANDARD
    alpha: float = ALPHA
    rope_pp: float = ROPE_PP
    targets: Mapping[str, float | None] = field(default_factory=dict)
    exclusions: tuple[str, ...] = EXCLUSIONS
    code: str | None = None
    tuning: Mapping[str, Any] | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    primary: Primary = "mean"
    confirms: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; `from_json` is the inverse."""
        # Later than the others: an analysis without them keeps its hash.
        later: dict[str, Any] = {} if self.tuning is None else {"tuning": self.tuning}
        if self.margins:
            later["margins"] = dict(self.margins)
        if self.primary != "mean":
            later["primary"] = self.primary
        if self.confirms:
            later["confirms"] = list(self.confirms)
        return later | {
            "questions": [[one.candidate, one.baseline] for one in self.questions],
            "endpoints": [one.to_json() for one in self.endpoints],
            "alpha": self.alpha,
            "multiplicity": "holm",
            "rope_pp": self.rope_pp,
            "workloads": dict(self.workloads),
            "candidates": dict(self.candidates),
            "blocks": list(self.blocks),
            "root_seed": self.root_seed,
            "looks": list(self.looks),
            "limits": self.shape,
            "targets": dict(self.targets),
            "exclusions": list(self.exclusions),
            "code": self.code,
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Analysis":
        """Return the analysis of a record that `to_json` made."""
        same = ("workloads", "candidates", "root_seed", "alpha", "rope_pp", "targets", "code")
        return Analysis(
            questions=tuple(Question(*pair) for pair in record["questions"]),
            blocks=tuple(record["blocks"]),
            looks=tuple(record["looks"]),
            shape=record["limits"],
            endpoints=tuple(map(Endpoint.from_json, record["endpoints"])),
            exclusions=tuple(record["exclusions"]),
            tuning=_read_tuning(record),
            margins=record.get("margins", {}),
            primary=record.get("primary", "mean"),
            confirms=tuple(record.get("confirms", ())),
            **{name: record[name] for name in same},
        )

    @property
    def hash(self) -> str:
        """The sha256 of its canonical JSON, as 64 hex digits."""
        return content_hash(self.to_json())


def _read_tuning(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the rule of tuning; an early version has the settings chosen by its one search."""
    if "tuned" in record:
        return {"repeats": 1, "chosen": record["tuned"]}
    rule: Mapping[str, Any] | None = record.get("tuning")
    return rule


def content_hash(content: Any) -> str:
    """Return sha256 over the canonical JSON of content without NaN, as 64 hex digits."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


@dataclass(frozen=True)
class FrozenVersion:
    """One of the times at which an analysis was frozen: in which file, when (UTC ms), and why.

    `why` says what allowed it to change; empty for the first one.
    """

    file: str
    hash: str
    time_ms: int
    why: str = ""


@dataclass(frozen=True)
class Registration:
    """The analysis that was frozen last, and all `deviations` of the study from it since.

    `started` counts the trials of the comparison that had logged a metric by then: 0 if it was
    frozen before there were any results. `versions` are all that were frozen, this one last.
    """

    analysis: Analysis
    hash: str
    time_ms: int
    started: int
    deviations: tuple[str, ...] = ()
    versions: tuple[FrozenVersion, ...] = ()


def data_sets_needed(tests: int, alpha: float) -> int:
    """Return how many data sets are needed to reach `alpha` at Holm's first step of `tests`.

    The exact signed-rank test over n of them cannot give a p-value below 2/2^n.
    """
    n = 2
    while tests * 2.0 ** (1 - n) > alpha:
        n += 1
    return n


def find_added(declared: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """Return the names of workloads that were not declared; both are keys of content by name.

    One may be called otherwise by now. Those that differ in ranks or precision alone have one key:
    there are as many of it as were declared, those of a declared name before others.
    """
    left = Counter(declared.values())
    added = set()
    for name, key in sorted(now.items(), key=lambda one: declared.get(one[0]) != one[1]):
        if left[key] == 0:
            added.add(name)
        else:
            left[key] -= 1
    return frozenset(added)
