"""A comparison: its questions, and for each the difference, its uncertainty and a verdict.

All differences are candidate minus baseline, negated if lower is better. "Not significant" is
never "equal". Nothing is estimated here.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.blocks import BlockFlag, Incomplete
from tracking.compare.rankings import Ranking
from tracking.compare.time_to_target import TimeToTarget
from tracking.compare.tuning import TuningSummary, Untuned
from tracking.outcomes import Outcome
from tracking.questions.analysis import Margins, Primary, Question, Registration
from tracking.questions.endpoint import STANDARD, Endpoint
from tracking.questions.interim import LedgerRow, Look, Looks, Savings
from tracking.questions.readiness import Readiness
from tracking.questions.units import BLOCKS, Units
from tracking.stats.sensitivity import Sensitivity
from tracking.stats.signed_rank import PseudoMedian
from tracking.stats.t_tests import LEVEL, Estimate, Superiority
from tracking.stats.variance_components import Components
from tracking.stats.win_probability import WinProbability

Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "wins more often",
    "wins less often",
    "undecided",
    "identical",
    "not estimable",
]


def verdict(
    estimate: Estimate, p: float | None, equivalence_p: float | None, alpha: float
) -> Verdict:
    """Return the verdict on an estimate, given its p-values adjusted for the family of tests.

    Equivalence comes first: a difference that is surely within the margin of no practical interest
    is not a win, however sure its sign. `p` and `equivalence_p` are None if there is no test.
    """
    if estimate.kind == "identical":
        return "identical"
    if estimate.kind != "estimated" or estimate.mean is None or p is None:
        return "not estimable"
    if equivalence_p is not None and equivalence_p <= alpha:
        return "equivalent"
    if p > alpha:
        return "undecided"
    return "better" if estimate.mean > 0 else "worse"


def interval_level(alpha: float) -> float:
    """Return the level of intervals: 95%, or less if words need less, so that none holds zero."""
    return min(LEVEL, 1 - alpha)


def verdict_on_wins(wins: WinProbability, p: float | None, alpha: float) -> Verdict:
    """Return the verdict on how often a candidate wins, given its adjusted p-value."""
    if p is None:
        return "not estimable"
    if p > alpha:
        return "undecided"
    return "wins more often" if wins.probability > 0.5 else "wins less often"


EXPLORATORY = "exploratory"  # the flag of answers that no family of tests was declared for

DivergenceWord = Literal["better", "worse", "undecided", "none"]
AcrossDatasetsWord = Literal["better", "worse", "undecided", "not claimable"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The answer to a question for one endpoint, on one workload or (`workload` None) pooled.

    `p_adjusted` and `equivalence_p` are adjusted: by Holm over the pooled answers, or over those
    of all workloads; by Benjamini-Hochberg those for exploration. They and `p_valid` are None if
    a flag bars the word that the test could give. `smallest_detectable` is the
    true difference that would be detected with 80% power, given the observed spread, and `p_valid`
    the p-value that holds over all looks, before any adjustment. `divergences` counts the diverged
    units of (candidate, baseline). Everything counts units, that is searches or blocks.
    `workloads` were pooled, of the `workloads_asked` of the study. `paired` has the difference of
    every unit of a single workload, of all looks. `measure` is what `endpoint` is on these
    workloads: images without held-out data have the AUC of training accuracy, and the user's own
    training has metrics of its own. `unit` is "pp", the name of a metric with a unit of its own,
    or "mixed" if nothing could be pooled. `reached` is the look that the answer is of: the one
    that decided it, if any has; `latest` is then the estimate of the last look, for information.
    `components` has the spread of searches and of blocks if searches have several blocks. `wins`
    are counted if the study has declared that its verdicts are about them: then p-values and
    verdict are, too, and the difference of means decides nothing. `no_value` says why no trial at
    all has a value of the endpoint, if none has. `at_target` counts the trials of (candidate,
    baseline) that have reached the target, of so many each, if the endpoint is a time to one.

    `arms` is None, but for a comparison without pairs: it has then the trials of (candidate,
    baseline), of which `estimate` counts the fewer, and nothing that takes pairs is there.

    `verdict` is None while the question is open. There is then no p-value, interval or test, and
    the estimate has only `n` and `mean`.
    """

    question: Question
    endpoint: Endpoint
    measure: str
    unit: str
    lower_is_better: bool
    workload: str | None
    estimate: Estimate
    p_adjusted: float | None = None
    equivalence_p: float | None = None
    verdict: Verdict | None = "not estimable"
    smallest_detectable: float | None = None
    median: float | None
    superiority: Superiority | None
    divergences: tuple[int, int]
    without_divergence: Estimate | None
    workloads: tuple[str, ...]
    workloads_asked: int
    flags: tuple[str, ...]
    paired: tuple[tuple[int, float], ...]
    sensitivity: Sensitivity | None
    reached: Look | None = None
    p_valid: float | None = None
    components: Components | None = None
    latest: Estimate | None = None
    wins: WinProbability | None = None
    no_value: str | None = None
    at_target: tuple[int, int, int] | None = None
    arms: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class AcrossDatasets:
    """An answer about data sets like these: the exact signed-rank test over their means.

    `means` are (data set, mean difference), workloads of one data set averaged; `ahead`, `behind`
    and `tied` count them. "not claimable": with `needed` data sets the test could reach the level
    at the first step of Holm's method, with fewer it never can, so there is no p-value.
    `p_adjusted` is by Holm over all of these answers.
    """

    question: Question
    endpoint: Endpoint
    measure: str
    unit: str
    means: tuple[tuple[str, float], ...]
    needed: int
    ahead: int
    behind: int
    tied: int
    p: float | None
    p_adjusted: float | None = None
    middle: PseudoMedian | None
    word: AcrossDatasetsWord = "not claimable"
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How often the two candidates of a question diverged, of `n` blocks in which both have ended.

    `only_candidate` and `only_baseline` count the units in which one diverged and the other did
    not, or less often. `p` is of the exact McNemar test over them, and holds over looks; it is
    None if no unit sets them apart. `p_adjusted` is by Holm over the questions, and None if a flag
    bars the word. `reached` is the look that the answer is of.
    """

    question: Question
    n: int
    candidate_diverged: int
    baseline_diverged: int
    only_candidate: int
    only_baseline: int
    p: float | None
    p_adjusted: float | None = None
    word: DivergenceWord = "undecided"
    reached: Look | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasuredWorkload:
    """A workload as it was measured; `steps` are the planned ones, None if no trial began.

    `held_out`: its curve is of validation data; otherwise of the training data themselves.
    `of_user`: the user's own training, of which only what it logs is known. `names_metric`: it is
    not read by accuracies, as images are, so that its metric has to be named.
    """

    name: str
    held_out: bool
    steps: int | None
    metric_spec: MetricSpec
    of_user: bool
    names_metric: bool = False


@dataclass(frozen=True)
class Settings:
    """Hyperparameters that a candidate was compared with on a workload, as declared or tuned."""

    workload: str
    candidate: str
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """One candidate on one workload: in %, or in the unit of its metric; sd with ddof 1.

    `others` are the means of further endpoints by name; of a time it is the geometric one.
    """

    workload: str
    candidate: str
    n: int
    planned: int
    mean_final: float | None
    sd_final: float | None
    mean_auc: float | None
    diverged: int
    median_seconds: float | None
    others: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Every question of a study answered; `pooled` and `by_workload` go question by question.

    `open_trials` have no end yet, and while there are any, the answer is an interim one. `notes`
    say what a reader must know of the origin of the trials. With `looks`, everything is of the
    last complete one, and the `ledger` has the answers of each. `unanswered` tests were declared
    and cannot be done any more; `later` are the pooled answers of all trials, with those that were
    added after the analysis was declared: for exploration. `tuning` says how the settings of tuned
    candidates were chosen, `untuned` who has none that were searched for. `margins` are those
    declared for one endpoint, in its unit. `units` are what answers count, `readiness` says of
    every question if all of its trials are in. `exploratory`: no analysis was frozen for any of
    the answers. `settings` are those of every candidate on every workload, each once. `primary` is
    what verdicts are about. `endpoints` are all that was measured, the two standard ones first.
    `asked`: the questions were put on the command line, whatever was frozen.
    """

    study: str
    alpha: float
    rope_pp: float
    questions: tuple[Question, ...]
    candidates: tuple[str, ...]
    workloads: tuple[MeasuredWorkload, ...]
    pooled: tuple[Difference, ...]
    by_workload: tuple[Difference, ...]
    across_datasets: tuple[AcrossDatasets, ...]
    divergence: tuple[Divergence, ...]
    time_to_target: TimeToTarget
    summaries: tuple[Summary, ...]
    incomplete: tuple[Incomplete, ...]
    flags: tuple[BlockFlag, ...]
    trials: int
    open_trials: int
    notes: tuple[str, ...] = ()
    looks: Looks | None = None
    ledger: tuple[LedgerRow, ...] = ()
    saved: Savings | None = None
    registration: Registration | None = None
    unanswered: int = 0
    later: tuple[Difference, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    tuning: TuningSummary | None = None
    untuned: Untuned | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    units: Units = BLOCKS
    readiness: tuple[Readiness, ...] = ()
    exploratory: bool = False
    settings: tuple[Settings, ...] = ()
    primary: Primary = "mean"
    is_paired: bool = True
    endpoints: tuple[Endpoint, ...] = STANDARD
    asked: bool = False

    def margin(self, one: Difference) -> float | None:
        """Return below what a difference does not matter, in its unit; None if no word says it."""
        return Margins(self.rope_pp, self.margins).of(one.endpoint, one.unit)

    @property
    def level(self) -> float:
        """The level of the intervals of differences, each for its own row."""
        return interval_level(self.alpha)

    def is_open(self, question: Question) -> bool:
        """Return True if trials of a question are still to come, so that it has no answer yet."""
        return any(one.is_open for one in self.readiness if one.question == question)

    @property
    def any_open(self) -> bool:
        """Return True if some question has no answer yet."""
        return any(one.is_open for one in self.readiness)

    @property
    def any_of_user(self) -> bool:
        """Return True if there is a workload that is not image classification."""
        return any(workload.of_user for workload in self.workloads)

    @property
    def names_metrics(self) -> bool:
        """Return True if there is a workload whose metric has to be named."""
        return any(workload.names_metric for workload in self.workloads)

    @property
    def confirmatory(self) -> tuple[Difference, ...]:
        """The pooled answers that the family of tests is made of."""
        return tuple(one for one in self.pooled if EXPLORATORY not in one.flags)

    @property
    def family(self) -> int:
        """The number of tests that the pooled p-values are adjusted for."""
        return len(self.confirmatory) + self.unanswered

    def untuned_in(self, question: Question) -> tuple[str, ...]:
        """Return who of a question was compared as declared: its verdict is about settings."""
        names = () if self.untuned is None else self.untuned.candidates
        return tuple(name for name in (question.candidate, question.baseline) if name in names)

    def rows(self, question: Question, endpoint: Endpoint) -> tuple[Difference, ...]:
        """Return the pooled answer, then those of the workloads.

        A study of one workload has only the pooled answer, which then is that of the workload.
        """
        single = self.by_workload if len(self.workloads) > 1 else ()
        return tuple(
            one
            for one in (*self.pooled, *single)
            if one.question == question and one.endpoint == endpoint
        )

    def select_outcomes(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the outcomes that it was made of: of no other phase and no later look."""
        compared = [one for one in outcomes if one.trial.phase == "compare"]
        return compared if self.looks is None else self.looks.select(compared)

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that do not exist are null."""
        return {"version": 1} | {name: json_ready(value) for name, value in named_fields(self)}


# Fields whose names in records are older than those of the code.
_RECORDED_AS: Mapping[str, str] = {
    "across_datasets": "level_b",
    "declared_shape": "agreed",
    "divergence": "failures",
    "divergences": "collapsed",
    "metric_spec": "reading",
    "of_user": "is_own",
    "without_divergence": "without_collapse",
}


def named_fields(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the fields of a dataclass, by their names in JSON and CSV."""
    for one in dataclasses.fields(record):
        yield _RECORDED_AS.get(one.name, one.name), getattr(record, one.name)


def json_ready(value: Any) -> Any:
    """Return a value as plain types without NaN or infinity, which JSON lacks."""
    if isinstance(value, Endpoint):
        return value.name
    if dataclasses.is_dataclass(value):
        return {name: json_ready(item) for name, item in named_fields(value)}
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
