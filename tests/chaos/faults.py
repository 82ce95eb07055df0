"""The faults, by kind: whom each one hits, and how what it breaks is mended."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from file_faults import events_read_only, late_files, step_a_clock
from processes import wait_for
from schedule import Planned
from siege import Fault, Siege
from targets import Missed, await_gone

SUBMIT_KILLED = "submit killed half-way"
RANK_KILLED = "kill -9 of a rank"


def _preempt(siege: Siege, planned: Planned) -> None:
    """Have a job of the urgent partition take a node, or both, from whoever is there."""
    task = planned.choose(siege.tasks())
    siege.mend(what="slurmd")
    siege.mend(what="node")
    began = siege.lab.folder / f"urgent-{sum(siege.faults.values())}"
    where = ["--nodes=2"] if planned.seconds > 3 else ["--nodes=1", f"--nodelist={task.node}"]
    urgent = ("--partition=urgent", "--exclusive", "--no-requeue", "--output=/dev/null")
    script = f"--wrap=touch {began}; sleep {planned.seconds / 4:.1f}"
    job = siege.cluster.ask("sbatch", "--parsable", *urgent, *where, script).strip()
    if not job:
        raise Missed("the urgent job was refused")
    if not siege.wait(began.exists):
        siege.cluster.ask("scancel", job)
        raise Missed("the urgent job did not start")


def _kill_lane(siege: Siege, planned: Planned) -> None:
    siege.wait(lambda: any(rank.ranks == 1 for rank in siege.targets.all_ranks()))
    _kill(planned.choose(siege.targets.ranks(several=False)).pid)


def _kill_rank(siege: Siege, planned: Planned) -> None:
    siege.wait(lambda: any(rank.ranks > 1 for rank in siege.targets.all_ranks()))
    _kill(planned.choose(siege.targets.ranks(several=True)).pid)


def _kill_step(siege: Siege, planned: Planned) -> None:
    """Kill SLURM's own keeper of a step: what it kept goes on, unseen, until it has ended.

    SLURM itself finds out when a node reports: at the latest when its daemon is started again.
    """
    _kill(planned.choose(siege.targets.steps()))

    def report() -> None:
        for node in siege.cluster.shape.names:
            with suppress(Missed):  # another fault was quicker
                _kill_daemon(siege, f"slurmd.{node}")
        siege.restart()

    siege.breaks("slurmd of every node", planned.seconds, report)


def _requeue(siege: Siege, planned: Planned) -> None:
    task = planned.choose(siege.tasks())
    siege.cluster.ask("scontrol", "requeue", task.id)
    if siege.cluster.ask("squeue", "-h", "-j", task.id, "-o", "%T").strip() in ("", "RUNNING"):
        raise Missed("it had ended by itself")


def _kill_slurmd(siege: Siege, planned: Planned) -> None:
    name = f"slurmd.{planned.choose(siege.cluster.shape.names)}"
    _kill_daemon(siege, name)
    siege.breaks(name, planned.seconds, siege.restart)


def _node_down(siege: Siege, planned: Planned) -> None:
    """Have the controller take a node for dead, whose processes may live for a while."""
    node = planned.choose(siege.tasks()).node
    update = ("scontrol", "update", f"nodename={node}")
    siege.cluster.ask(*update, "state=down", "reason=chaos")

    def resume() -> None:
        siege.mend(what="slurmctld")
        siege.cluster.ask(*update, "state=resume")

    siege.breaks(f"node {node}", planned.seconds, resume)


def _kill_slurmctld(siege: Siege, planned: Planned) -> None:
    _kill_daemon(siege, "slurmctld", gently=planned.target > 0.5)
    siege.breaks("slurmctld", planned.seconds, siege.restart)


def _kill_submit(siege: Siege, planned: Planned) -> None:
    """Kill a submission that has something to send, at any moment of its life."""
    siege.end_submit()  # or that one sends it
    siege.look()
    if not siege.targets.queue_is_empty:
        found = siege.targets.ranks()
        # Of several ranks the others have to leave as well, which takes a while.
        rank = planned.choose([rank for rank in found if rank.ranks == 1] or found)
        _kill(rank.pid)
        # Until its job is out of the queue, its trial is not known to be lost.
        if not siege.wait(lambda: _has_left(siege, rank.job), 30, submits=False):
            raise Missed("the job of the rank that was killed for it goes on")
    process = siege.start_submit()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=planned.target * siege.submit_s)
    if process.returncode is not None:
        raise Missed("it had ended by itself")
    process.kill()
    process.communicate()


def _has_left(siege: Siege, job: int) -> bool:
    siege.look()
    return job not in {task.job for task in siege.targets.running}


def _no_accounting(siege: Siege, planned: Planned) -> None:
    """Stop the accounting; its commands are not there either."""
    _kill_daemon(siege, "slurmdbd")
    siege.stand_ins.mkdir(exist_ok=True)
    for command in ("sacct", "sacctmgr"):
        script = siege.stand_ins / command
        script.write_text(f"#!/bin/sh\necho '{command}: no accounting' >&2\nexit 1\n")
        script.chmod(0o755)

    def bring_back() -> None:
        for command in ("sacct", "sacctmgr"):
            (siege.stand_ins / command).unlink(missing_ok=True)
        siege.restart()

    siege.breaks("accounting", 2 * planned.seconds, bring_back)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        raise Missed("it had ended by itself") from None
    await_gone(pid)


def _kill_daemon(siege: Siege, name: str, gently: bool = False) -> None:
    process = siege.cluster.daemons.process(name)
    if process is None or not siege.cluster.daemons.lives(name):
        raise Missed(f"{name} is down")
    if gently:
        siege.cluster.daemons.stop(name)
        return
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not siege.cluster.daemons.lives(name))


KINDS: Mapping[str, Fault] = {
    "preemption by an urgent job": _preempt,
    "kill -9 of a lane": _kill_lane,
    RANK_KILLED: _kill_rank,
    "kill -9 of a step": _kill_step,
    "scontrol requeue": _requeue,
    "slurmd dies and comes back": _kill_slurmd,
    "a node is taken for dead": _node_down,
    "slurmctld restarts": _kill_slurmctld,
    SUBMIT_KILLED: _kill_submit,
    "sacct and slurmdbd gone": _no_accounting,
    "events folder read-only": events_read_only,
    "a clock steps": step_a_clock,
    "files are seen late": late_files,
}
