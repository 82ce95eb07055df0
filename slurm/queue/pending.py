"""Why jobs wait: the reasons of SLURM in words, each with what a user can do about it.

A word that is not in the table is shown as it is. Asks SLURM nothing.
"""

import re
from collections.abc import Iterable, Mapping

from slurm.queue.squeue import Queued

_ITSELF = "nothing to do, they start by themselves"
_NODES = (
    "ask the site (`sinfo -R` has its reason), or choose another partition in the site profile"
)
_LESS = "lower it in the sweep (`resources`), or choose another QOS in the site profile"
# The first pattern that fits the reason of squeue counts.
_WORDS: Mapping[str, str] = {
    r"Priority": f"others come first; {_ITSELF}",
    r"Resources": f"they are next, as soon as nodes are free; {_ITSELF}",
    r"JobArrayTaskLimit": "`limits.concurrent` lets so many run at a time (100 of an "
    "array if the sweep does not say it); raise it for more",
    r"Dependency": f"they wait for the end of other jobs; {_ITSELF}",
    r"DependencyNeverSatisfied": "what they wait for is gone: `thermolion cancel`, then `submit`",
    r"BeginTime": f"they were put back, or have failed, and start after a while; {_ITSELF}",
    r"JobHeldUser": "they are held: `thermolion release` lets them start",
    r"JobHeldAdmin": "they are held: `thermolion release` if it was you, as an administrator; "
    "else ask the site",
    r"launch.failed.requeued.held": "a node has refused them: `thermolion submit` frees them",
    r"ReqNodeNotAvail|UnavailableNodes": f"nodes are down, drained or reserved: {_NODES}",
    r"Nodes.required.for.job.are.DOWN": f"nodes that they need are down or drained: {_NODES}",
    r"NodeDown|PartitionDown|PartitionInactive": f"the partition or its nodes are down: {_NODES}",
    r"PartitionTimeLimit": "their time is above the partition's: lower `resources.time`",
    r"PartitionNodeLimit|PartitionConfig": f"they ask for more than the partition gives: {_LESS}",
    r"BadConstraints": "no node has what they ask for: look into `constraint` of the site profile",
    r"Reservation|ReservationDeleted": "their reservation has not begun, or is gone: ask the site",
    r"Licenses": f"licenses are taken; {_ITSELF}",
    r"InvalidAccount": "their account may not run jobs: look into `account` of the site profile",
    r"InvalidQOS": "their QOS does not exist any more: look into `qos` of the site profile",
    r"AccountNotAllowed|QOSNotAllowed": "the partition refuses their account or QOS: run "
    "`thermolion doctor`",
    r"(QOS|Assoc)MaxWall\w*": f"their time is above what the QOS or account allows: {_LESS}",
    r"(QOS|Assoc)(MaxJobs|GrpJobs)\w*": "you or your group have as many jobs running as they may; "
    f"{_ITSELF}",
    r"(QOS|Assoc)Max\w*(PerJob|MinLimit)\w*": f"each asks for more than one job may have: {_LESS}",
    r"(QOS|Assoc)Grp\w*Minutes\w*": "the hours that your group was granted are spent: ask the "
    "site, or choose another account",
    r"(QOS|Assoc)(Grp|Max)\w*": "you or your group have as much as a QOS or account allows; "
    f"{_ITSELF}, unless one asks for more than all of it",
    r"QOSUsageThreshold|QOSResourceLimit|QOSJobLimit": f"a limit of the QOS is reached; {_ITSELF}",
}
_MEANINGLESS = ("", "None", "(null)")


def explain_reason(reason: str) -> str:
    """Return a reason of squeue with what it means and the next step, as far as it is known."""
    word = reason.strip("()")
    for pattern, meaning in _WORDS.items():
        if re.match(rf"(?:{pattern})\b", word):
            return f"{word}: {meaning}"
    return f"{word}, says SLURM: `man squeue` explains it"


def read_reason(job: Queued) -> str | None:
    """Return the reason for which a job waits, None if it does not, or none is told yet."""
    if job.state != "queued" or job.reason in _MEANINGLESS:
        return None
    return job.reason


def explain_waiting(reasons: Iterable[str]) -> list[str]:
    """Return a line for every reason of some jobs: how many they are, and what it means."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return [
        f"{count} job{'s wait' if count > 1 else ' waits'}: {explain_reason(reason)}"
        for reason, count in counts.items()
    ]


def list_tasks(tasks: Iterable[str]) -> str:
    """Return ids of array tasks in short, as SLURM writes them: 17_[0-5,9], 18_3."""
    by_array: dict[str, list[int]] = {}
    alone = []
    for task in tasks:
        array, _, number = task.partition("_")
        if number.isdecimal():
            by_array.setdefault(array, []).append(int(number))
        else:
            alone.append(task)
    shorts = [f"{array}_{_shorten(sorted(numbers))}" for array, numbers in by_array.items()]
    return ", ".join([*shorts, *dict.fromkeys(alone)])


def _shorten(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return f"[{','.join(str(a) if a == b else f'{a}-{b}' for a, b in ranges)}]"
