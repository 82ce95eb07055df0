"""Why a trial has no result, and whether the next `submit` sends it again.

Derived from the logs and from how jobs ended; asks no scheduler and sends nothing.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jobs.contract.failures import (
    CLASSES,
    FailureClass,
    JobEnd,
    classify_exception,
    find_common_start_failure,
)
from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.ranks.ending import RANK_DIED
from orchestrator.backends.base import Need
from orchestrator.backends.records import Submission, read_pack
from orchestrator.sweep.keys import FailureKeys
from tracking.history import AttemptSummary
from tracking.outcomes import Hold, Outcome

_NODES = 4  # with a broken GPU that cost a trial no retry: if all are, it may be the trial

Ends = Mapping[tuple[str, int], JobEnd]

# Of these, an attempt that has got further than all before it costs no retry.
_BY_PROGRESS: tuple[FailureClass, ...] = ("TIMEOUT", "NODE_FAIL", "LOST")


@dataclass(frozen=True)
class Failure:
    """How the last attempt at a trial ended without a result.

    `used` of `retries` are used up (none if its class has no limit). The next `submit` sends the
    trial, with `need`, if `again` is True; it does not go by itself if `by_other` is: somebody
    else has cancelled its job, or may have.
    """

    kind: FailureClass
    why: str
    node: str | None
    used: int
    retries: int | None
    again: bool
    need: Need
    by_other: bool = False


@dataclass(frozen=True)
class _FailedSubmission:
    """One submission that carried a trial and brought no result.

    `gained`: it got further than all before it, so it costs no retry; nor does it if it is `free`.
    """

    submission: str
    kind: FailureClass
    why: str
    node: str | None
    gained: bool
    free: bool
    by_other: bool


def find_failure(
    outcome: Outcome,
    ends: Ends,
    unstarted: Sequence[tuple[str, int]],
    submissions: Mapping[str, Submission],
    policy: FailureKeys,
) -> Failure | None:
    """Return how a trial without a result failed the last time, None if it has not failed.

    `ends` are those of jobs that logged no end themselves, `unstarted` the submissions and packs
    among these that carried the trial and never began. Retries are counted from the last
    submission that got further, or that the user has sent by hand.
    """
    past = _list_failed_submissions(outcome, ends, unstarted)
    if not past:
        return None
    last = past[-1]
    sent_by_hand = {one.id for one in submissions.values() if one.by_hand}
    by_hand = [n for n, one in enumerate(past) if one.submission in sent_by_hand]
    gained = [n for n, one in enumerate(past) if one.gained]
    since = max([0, *by_hand, *(n + 1 for n in gained)])
    used = sum(one.kind == last.kind and not one.free for one in past[since:])
    rule = policy.rule(last.kind)
    given = submissions.get(last.submission)
    scale = (given.scale if given else None) or {}
    grown = policy.oom_host.mem if last.kind == "OOM_HOST" else 1.0
    return Failure(
        kind=last.kind,
        why=last.why,
        node=last.node,
        used=used if rule else 0,
        retries=rule.retries if rule else None,
        again=rule is None or used <= rule.retries,
        need=Need(
            scale.get("mem", 1.0) * grown, scale.get("time", 1.0), rule.backoff if rule else 0.0
        ),
        by_other=last.by_other,
    )


def find_unstarted(layout: Layout, ends: Ends) -> Mapping[str, list[tuple[str, int]]]:
    """Return, by trial id, the submissions and packs that carried it and maybe never came to it.

    These are jobs that never began, and such as were cancelled before they had done all.
    """
    carriers: dict[str, list[tuple[str, int]]] = {}
    for (submission, pack), end in sorted(ends.items()):
        if end.failure in ("NEVER_STARTED", "CANCELLED") or end.cause is not None:
            for trial in read_carried(layout, submission, pack):
                carriers.setdefault(trial, []).append((submission, pack))
    return carriers


def is_one_node(node: str | None) -> bool:
    """Return True for the name of one node: nobody says which of several has failed."""
    return bool(node) and not set(node or "") & set(",[")


def find_start_hold(
    layout: Layout, submission: Submission, ends: Ends, carriers: Container[str]
) -> Hold | None:
    """Return the hold of a submission whose jobs all end alike before they begin, else None.

    Trials in `carriers` have a living job, and are not held.
    """
    here = [end for (name, _), end in ends.items() if name == submission.id]
    common = find_common_start_failure(here, Pack.patience)
    if common is None or any(layout.events.glob(f"{submission.id}-*.jsonl")):
        return None
    packs = (read_carried(layout, submission.id, pack) for pack in range(submission.packs))
    trials = tuple(trial for pack in packs for trial in pack if trial not in carriers)
    reason = "the first jobs of the submission ended alike before they began"
    return Hold(submission.id, reason, common.why, trials, common.failure)


@cache
def read_carried(layout: Layout, submission: str, pack: int) -> tuple[str, ...]:
    """Return the ids of the trials of a pack."""
    return tuple(trial.id for trial in read_pack(layout, submission, pack).trials)


def name_failures(
    outcome: Outcome, ends: Ends, unstarted: Sequence[tuple[str, int]]
) -> Mapping[str, FailureClass]:
    """Return, by submission, the class of what failed a trial in it."""
    return {one.submission: one.kind for one in _list_failed_submissions(outcome, ends, unstarted)}


def _list_failed_submissions(
    outcome: Outcome, ends: Ends, unstarted: Sequence[tuple[str, int]]
) -> list[_FailedSubmission]:
    """Return the submissions that failed a trial, oldest first."""
    attempts: dict[tuple[str, int], list[AttemptSummary]] = {}
    for attempt in outcome.attempt_log:
        submission, pack, *_ = attempt.log.removesuffix(".jsonl").rsplit("-", 3)
        attempts.setdefault((submission, int(pack)), []).append(attempt)
    past: list[_FailedSubmission] = []
    faulty: set[str | None] = set()
    reached = -1
    for place in sorted({*attempts, *unstarted}):
        here = attempts.get(place, [])
        end = ends.get(place)
        steps = max((a.step for a in here if a.step is not None), default=-1)
        gained, reached = steps > reached, max(reached, steps)
        classified = _classify_end(here[-1] if here else None, end)
        if classified is not None:
            kind, why = classified
            if end is not None and end.gained is not None and kind == "TIMEOUT":
                gained = end.gained
            elif kind == "TIMEOUT" and here and here[-1].end == "interrupted":
                gained = True  # else it would have logged a failure
            node = (end and end.node) or (here[-1].host if here else None)
            is_free = kind == "GPU_FAULT" and is_one_node(node) and node not in faulty
            is_free = is_free and len(faulty) < _NODES
            faulty |= {node} if is_free else set()
            has_gained = gained and kind in _BY_PROGRESS
            by_other = kind == "CANCELLED" and end is not None and end.by_other
            one = _FailedSubmission(place[0], kind, why, node, has_gained, is_free, by_other)
            past.append(one)
    return past


def _classify_end(
    last: AttemptSummary | None, end: JobEnd | None
) -> tuple[FailureClass, str] | None:
    """Return class and cause of the end of an attempt, None if somebody asked for it."""
    if last is None:
        return None if end is None else (end.failure, end.why)
    if end is not None and end.failure == "CANCELLED" and last.end in ("interrupted", "running"):
        return end.failure, end.why  # the job itself has taken the signal for a preemption
    if last.end == "failed":
        return classify_exception(last.kind, last.error), last.error or ""
    if last.end == "interrupted" and last.kind != RANK_DIED:
        kind = next((known for known in CLASSES if known == last.kind), None)
        if kind is None:
            return None
        return kind, end.why if end is not None and end.failure == kind else last.error or ""
    if end is not None:
        return end.failure, end.why
    return "LOST", last.error or "its process died"
