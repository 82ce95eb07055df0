"""The queue of some users, read by one call of squeue and kept for as long as the site asks.

Works without sacct. An answer proves that a job lives, or in which state it has ended. That a job
is not in it proves nothing: SLURM forgets a job some minutes after its end, but a wrapper, a cache
or a filter of the site may have left it out. So jobs that are missing are asked for by their ids,
and whatever is not proven to have ended counts as alive.
"""

import contextlib
import os
import pwd
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from slurm.commands import ask, call, in_batches, run
from slurm.queue.job_names import JobNames
from slurm.queue.sacct import read_cancellers, read_last_states
from slurm.queue.state_words import CANCELLED, Ended, Key, State, parse_state
from slurm.site.facts import parse_config
from slurm.slurm_errors import NoAnswer, SlurmError

_SLOWER = 1.5  # a queue in which nothing has changed is read less and less often
_SLOWEST = 4.5  # times the interval of the site
_SHOWN = 80  # characters of a line that cannot be read
_FORMAT = "%F|%K|%T|%N|%r|%U|%j|%o|."  # the dot tells a line that was cut off
# An answer without its header is none. What a site puts before every line, it puts there too.
_HEADER = re.compile(r"(.*?)(?:[A-Z_]+\|){8}\.\w*")
_LINE = re.compile(r"(\d+)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(\d+)\|(.*)\|([^|]*)\|\.\w*")
_NO_MARK = re.compile(r"\W")  # what the mark of a question may not have in it
_STUCK = re.compile("launch.failed.requeued.held")  # the reason that SLURM gives for its own hold
_COMPLAINT = re.compile(r"\b(error|invalid)\b", re.I)
_UNKNOWN = "Invalid job id"  # said of a single id; among several, an unknown one is left out
_NO_NAMES = JobNames()
_BY_HAND = "run `{}` by hand, and have the squeue of SLURM itself first on PATH"


@dataclass(frozen=True)
class Queued:
    """One job, or one task of an array: the id that it has with its array, and its name.

    `name` is the one that it was sent with, if it is ours; `command` is the file that it runs.
    """

    array_job: int
    task: int | None
    word: str
    reason: str
    uid: int
    name: str
    command: str = ""

    @property
    def key(self) -> Key:
        return self.name, self.array_job, self.task

    @property
    def state(self) -> State:
        return parse_state(self.word)

    @property
    def is_stuck(self) -> bool:
        """Return True if SLURM has held it by itself, after a node could not launch it."""
        return _STUCK.search(self.reason) is not None


@dataclass(frozen=True)
class Queue:
    """The jobs of some users that live, and what is known of others.

    `ended` are those of which SLURM still says in which state they ended, `gone` those of which
    it says no more than that it does not know their id. `trouble` says why a job may be missing
    that is in none of the three.
    """

    jobs: Sequence[Queued]
    ended: Mapping[Key, Ended] = field(default_factory=dict, compare=False)
    gone: Collection[Key] = field(default=frozenset(), compare=False)
    # The array jobs whose ids were on disk before the question. No clock could tell: those of
    # nodes and of this machine may be hours apart.
    known: Collection[int] = frozenset()
    trouble: str | None = field(default=None, compare=False)
    by_key: Mapping[Key, Queued] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {job.key: job for job in self.jobs})

    def ids(self, name: str) -> list[int]:
        """Return the ids of the living jobs of a name, an array once."""
        return sorted({job.array_job for job in self.jobs if job.name == name})

    def misses(self, key: Key) -> bool:
        """Return True if this answer says nothing of a job that it should know."""
        has_it = key in self.by_key or key in self.ended or key in self.gone
        return key[1] in self.known and not has_it


@dataclass(frozen=True)
class Outstanding:
    """A job that has left no exit code: who has sent it, and if sacct is to be asked about it."""

    uid: int
    accounted: bool


@dataclass(frozen=True)
class ExpectedJobs:
    """What the records of a study say of the queue; they were read before the queue is.

    `jobs` should be in it, unless they have ended; `known` are all array jobs with an id, and
    `names` those that jobs were sent with.
    """

    study: Path
    uids: frozenset[int]
    jobs: Mapping[Key, Outstanding]
    known: frozenset[int]
    names: JobNames = field(default_factory=JobNames)


def read_jobs(ids: Sequence[str], names: JobNames = _NO_NAMES) -> Queue:
    """Ask for some jobs or tasks by their ids; raises SlurmError if there is no answer.

    One that has been forgotten is left out, and one that may not be seen as well.
    """
    try:
        return _read(names, f"--jobs={','.join(ids)}")
    except SlurmError as error:
        if len(ids) == 1 and _UNKNOWN in str(error):
            return Queue(())
        raise


def read_named(name: str, uid: int) -> Queue:
    """Ask for the jobs of a user that have a name, maybe with more before or after it.

    Raises NoAnswer if it is not certain that these are all.
    """
    try:
        # The mark makes it a question that nobody has asked before: a cache has no answer to it.
        queue = _read_users({uid}, JobNames(names=frozenset({name})), name)
    except SlurmError as error:
        raise NoAnswer(str(error)) from error
    if queue.trouble is not None:
        raise NoAnswer(queue.trouble)
    return queue


@dataclass
class _Snapshot:
    """The last answer to one question, what was found out since, and when to ask again.

    `doubted` are the jobs that were missed and asked for, `asked` those of which sacct was asked
    who has cancelled them; `studies` are those whose jobs are expected.
    """

    first: Queue
    queue: Queue
    interval_s: float
    answered: float
    studies: set[Path] = field(default_factory=set)
    doubted: set[Key] = field(default_factory=set)
    asked: set[Key] = field(default_factory=set)


class QueueWatch:
    """Remembers the queue between two readings, for one process."""

    def __init__(self) -> None:
        self._snapshots: dict[frozenset[int], _Snapshot] = {}
        self._gone: dict[Key, Ended | None] = {}  # an id that SLURM has forgotten stays so

    def read(self, expected: ExpectedJobs, every_s: float) -> Queue:
        """Return the queue, asked for every `every_s` seconds at most, less often while it rests.

        An old answer serves if the controller gives none for a while. There is a second call only
        if the first one misses a job.
        """
        snapshot = self._read_or_keep(expected, every_s)
        if expected.study not in snapshot.studies:
            snapshot.studies.add(expected.study)
            snapshot.queue = replace(
                snapshot.queue,
                jobs=tuple(_named(job, expected.names) for job in snapshot.queue.jobs),
                known={*snapshot.queue.known, *expected.known},
            )
        missed = {
            key: sent
            for key, sent in expected.jobs.items()
            if key not in snapshot.doubted and snapshot.queue.misses(key)
        }
        if missed:
            snapshot.doubted |= missed.keys()
            snapshot.queue = self._with_missed(snapshot.queue, missed, expected.names)
        unnamed = {
            key
            for key, sent in expected.jobs.items()
            if sent.accounted
            and key not in snapshot.asked
            and _lacks_canceller(snapshot.queue, key)
        }
        if unnamed:
            snapshot.asked |= unnamed
            found = read_cancellers(unnamed)
            snapshot.queue = replace(snapshot.queue, ended={**snapshot.queue.ended, **found})
        return snapshot.queue

    def forget(self) -> None:
        """Ask again at the next reading: something was sent or stopped."""
        self._snapshots.clear()

    def _read_or_keep(self, expected: ExpectedJobs, every_s: float) -> _Snapshot:
        last = self._snapshots.get(expected.uids)
        if last is not None and time.monotonic() - last.answered < last.interval_s:
            return last
        try:
            first = _read_users(expected.uids, expected.names)
        except SlurmError:
            if last is None:
                raise
            last.interval_s = min(last.interval_s * 2, every_s * _SLOWEST)
            last.answered = time.monotonic()
            return last
        interval = every_s
        if last is not None and last.first.jobs == first.jobs:
            interval = min(last.interval_s * _SLOWER, every_s * _SLOWEST)
        queue = replace(first, trouble=None)  # of no interest unless it misses something
        snapshot = self._snapshots[expected.uids] = _Snapshot(
            first, queue, interval, time.monotonic()
        )
        return snapshot

    def _with_missed(
        self, queue: Queue, missed: Mapping[Key, Outstanding], names: JobNames
    ) -> Queue:
        """Return a queue with what is to be found out about jobs that it misses."""
        unknown = {key: sent for key, sent in missed.items() if key not in self._gone}
        answer = _read_missed(unknown, names) if unknown else Queue(())
        self._gone |= {key: answer.ended.get(key) for key in answer.gone}
        gone = missed.keys() & self._gone.keys()
        ends = {key: end for key in gone if (end := self._gone[key]) is not None}
        return replace(
            queue,
            jobs=(*queue.jobs, *answer.jobs),
            ended={**queue.ended, **answer.ended, **ends},
            gone={*queue.gone, *gone},
            trouble=answer.trouble or queue.trouble,
        )


def _lacks_canceller(queue: Queue, key: Key) -> bool:
    """Return True if a job was cancelled, and it is not known by whom: squeue never says it."""
    end = queue.ended.get(key)
    return end is not None and end.word == CANCELLED


def _named(job: Queued, names: JobNames) -> Queued:
    return replace(job, name=names.find(job.name, job.array_job, job.command))


def _read_users(uids: Collection[int], names: JobNames, wanted: str = "") -> Queue:
    """Ask for the jobs of some users: for those of all users if squeue does not know one."""
    users = f"--user={','.join(map(str, sorted(uids)))}"
    queue = _read(names, *([users] if all(map(_has_name, uids)) else []), wanted=wanted)
    return replace(queue, jobs=tuple(job for job in queue.jobs if job.uid in uids))


def _read_missed(missed: Mapping[Key, Outstanding], names: JobNames) -> Queue:
    """Find out what has become of jobs that are not in the queue of their user.

    A job that is in none of `jobs`, `ended` and `gone` of the answer may live; `trouble` says why
    nobody knows.
    """
    living: dict[Key, Queued] = {}
    ended: dict[Key, Ended] = {}
    others: set[tuple[int, int | None]] = set()
    trouble: str | None = None
    try:
        for batch in in_batches(sorted({str(job) for _, job, _ in missed})):
            queue = read_jobs(batch, names)
            others |= {key[1:] for key in (*queue.by_key, *queue.ended)}
            living |= {key: queue.by_key[key] for key in missed if key in queue.by_key}
            ended |= {key: queue.ended[key] for key in missed if key in queue.ended}
            trouble = trouble or queue.trouble
    except SlurmError as error:
        trouble = str(error)
    if trouble is not None:
        return Queue(tuple(living.values()), ended, trouble=trouble)
    absent = missed.keys() - living.keys() - ended.keys()
    hidden = _hidden({key: missed[key].uid for key in absent})
    ends = read_last_states({key for key in absent - hidden if missed[key].accounted}, others)
    believed = {key for key, end in ends.items() if parse_state(end.word) != "ended"}
    forgotten = _forgotten(believed, others)
    believed, ends = believed - forgotten, {k: ends[k] for k in ends.keys() - forgotten}
    gone = absent - hidden - believed
    ended |= {key: ends[key] for key in gone & ends.keys()}
    if believed:
        _, job, task = min(believed)
        which = f"{job}" if task is None else f"{job}_{task}"
        trouble = (
            f"sacct says {ends[min(believed)].word} of job {which}, which squeue does not "
            "know: if `sacctmgr show runawayjobs` names it, `thermolion cancel`, then submit again"
        )
    if hidden:
        uid = missed[min(hidden)].uid
        trouble = f"this site hides the jobs of user {uid} (PrivateData): look as that user"
    return Queue(tuple(living.values()), ended, gone, trouble=trouble)


def _forgotten(believed: Collection[Key], others: Collection[tuple[int, int | None]]) -> set[Key]:
    """Return the jobs that the controller itself does not know, whatever sacct believes of them.

    It was killed before it had saved them; sacct never hears of their end. The id of one may be by
    now that of another job, which squeue has shown.
    """
    forgotten = {key for key in believed if key[1:] in others}
    for job in {job for _, job, _ in set(believed) - forgotten}:
        with contextlib.suppress(SlurmError):  # no scontrol here, or no answer
            done = call(["scontrol", "show", "job", str(job)])
            if done.returncode and _UNKNOWN in done.stdout + done.stderr:
                forgotten |= {key for key in believed if key[1] == job}
    return forgotten


def _hidden(uids: Mapping[Key, int]) -> set[Key]:
    """Return the jobs of other users that may be there although squeue does not show them."""
    others = {key for key, uid in uids.items() if uid != os.geteuid()}
    if not others or os.geteuid() == 0:
        return set()
    try:
        private = parse_config(ask(["scontrol", "show", "config"])).get("PrivateData", "")
    except SlurmError:
        return others
    return others if {"jobs", "all"} & set(private.lower().split(",")) else set()


def _read(names: JobNames, *options: str, wanted: str = "") -> Queue:
    """Ask squeue once; raises SlurmError if what it prints is no answer of squeue's.

    If the job of one name is `wanted`, lines without it need not be understood.
    """
    format_ = f"--format={_FORMAT}{re.sub(_NO_MARK, '', wanted)}"
    done = run(["squeue", "--all", "--array", "--states=all", format_, *options])
    next_step = _BY_HAND.format(" ".join(["squeue", *options]))
    complaint = " ".join(done.stderr.split())
    complains = _COMPLAINT.search(complaint) is not None
    trouble = f"squeue says {complaint!r}: {next_step}" if complains else None
    lines = done.stdout.splitlines()
    headers = [(n, match) for n, line in enumerate(lines) if (match := _HEADER.fullmatch(line))]
    if not headers:
        unread = f"the line {lines[0][:_SHOWN]!r}" if lines else "an empty answer"
        raise SlurmError(trouble or f"squeue gives {unread}, not the jobs: {next_step}")
    first, header = headers[0]
    living, ended = [], {}
    for line in lines[first + 1 :]:
        match = _LINE.fullmatch(line.removeprefix(header[1]))
        if match is None:
            if wanted in line:
                unread = f"squeue prints {line[:_SHOWN]!r}, which is no job"
                trouble = trouble or f"{unread}: {next_step}"
            continue
        array_job, task, word, nodes, reason, uid, name, command = match.groups()
        number = int(task) if task.isdecimal() else None
        job = Queued(int(array_job), number, word, reason, int(uid), name, command)
        job = _named(job, names)
        if job.state == "ended":
            ended[job.key] = Ended(word, nodes)
        else:
            living.append(job)
    return Queue(tuple(living), ended, trouble=trouble)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
