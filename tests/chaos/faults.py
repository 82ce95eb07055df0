"""The faults, by kind: what each one hits, and how what it breaks is repaired."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from chaos_run import ChaosRun, Fault
from file_faults import events_read_only, late_files, step_a_clock
from processes import wait_for
from schedule import Planned
from site_faults import (
    break_a_gpu,
    cached_squeue,
    cancel_by_somebody_else,
    kill_a_helper,
    silent_squeue,
)
from targets import Missed, await_gone

SUBMIT_KILLED = "submit killed half-way"
RANK_KILLED = "kill -9 of a rank"
HELPER_KILLED = "the helper job is killed"


def _preempt(run: ChaosRun, planned: Planned) -> None:
    """Have a job of the urgent partition take a node, or both, from whoever is there."""
    task = planned.choose(run.tasks())
    run.repair(what="slurmd")
    run.repair(what="node")
    began = run.lab.folder / f"urgent-{sum(run.faults.values())}"
    where = ["--nodes=2"] if planned.seconds > 3 else ["--nodes=1", f"--nodelist={task.node}"]
    urgent = ("--partition=urgent", "--exclusive", "--no-requeue", "--output=/dev/null")
    script = f"--wrap=touch {began}; sleep {planned.seconds / 4:.1f}"
    job = run.cluster.ask("sbatch", "--parsable", *urgent, *where, script).strip()
    if not job:
        raise Missed("the urgent job was refused")
    if not run.wait(began.exists):
        run.cluster.ask("scancel", job)
        raise Missed("the urgent job did not start")


def _kill_lane(run: ChaosRun, planned: Planned) -> None:
    run.wait(lambda: any(rank.ranks == 1 for rank in run.targets.all_ranks()))
    _kill(planned.choose(run.targets.ranks(several=False)).pid)


def _kill_rank(run: ChaosRun, planned: Planned) -> None:
    run.wait(lambda: any(rank.ranks > 1 for rank in run.targets.all_ranks()))
    _kill(planned.choose(run.targets.ranks(several=True)).pid)


def _kill_step(run: ChaosRun, planned: Planned) -> None:
    """Kill SLURM's own keeper of a step: what it kept goes on, unseen, until it has ended.

    SLURM itself finds out when a node reports: at the latest when its daemon is started again.
    """
    _kill(planned.choose(run.targets.steps()))

    def report() -> None:
        for node in run.cluster.shape.names:
            with suppress(Missed):  # another fault was quicker
                _kill_daemon(run, f"slurmd.{node}")
        run.restart()

    run.break_until("slurmd of every node", planned.seconds, report)


def _requeue(run: ChaosRun, planned: Planned) -> None:
    task = planned.choose(run.tasks())
    run.cluster.ask("scontrol", "requeue", task.id)
    if run.cluster.ask("squeue", "-h", "-j", task.id, "-o", "%T").strip() in ("", "RUNNING"):
        raise Missed("it had ended by itself")


def _kill_slurmd(run: ChaosRun, planned: Planned) -> None:
    name = f"slurmd.{planned.choose(run.cluster.shape.names)}"
    _kill_daemon(run, name)
    run.break_until(name, planned.seconds, run.restart)


def _node_down(run: ChaosRun, planned: Planned) -> None:
    """Have the controller take a node for dead, whose processes may live for a while."""
    node = planned.choose(run.tasks()).node
    update = ("scontrol", "update", f"nodename={node}")
    run.cluster.ask(*update, "state=down", "reason=chaos")

    def resume() -> None:
        run.repair(what="slurmctld")
        run.cluster.ask(*update, "state=resume")

    run.break_until(f"node {node}", planned.seconds, resume)


def _kill_slurmctld(run: ChaosRun, planned: Planned) -> None:
    _kill_daemon(run, "slurmctld", gently=planned.target > 0.5)
    run.break_until("slurmctld", planned.seconds, run.restart)


def _kill_submit(run: ChaosRun, planned: Planned) -> None:
    """Kill a submission that has something to send, at any moment of its life.

    How long it lives is a guess: the next try is made earlier if it had ended before.
    """
    run.end_submit()  # or that one sends it
    run.look()
    if not run.targets.queue_is_empty:
        found = run.targets.ranks()
        # Of several ranks the others have to leave as well, which takes a while.
        rank = planned.choose([rank for rank in found if rank.ranks == 1] or found)
        _kill(rank.pid)
        # Until its job is out of the queue, its trial is not known to be lost.
        if not run.wait(lambda: _has_left(run, rank.job), 30, submits=False):
            raise Missed("the job of the rank that was killed for it goes on")
    process = run.start_submit()
    with suppress(subprocess.TimeoutExpired):
        earlier = 0.8 ** run.missed[SUBMIT_KILLED]
        process.communicate(timeout=planned.target * run.submit_s * earlier)
    if process.returncode is not None:
        raise Missed("it had ended by itself")
    process.kill()
    process.communicate()


def _has_left(run: ChaosRun, job: int) -> bool:
    run.look()
    return job not in {task.job for task in run.targets.running}


def _no_accounting(run: ChaosRun, planned: Planned) -> None:
    """Stop the accounting; its commands are not there either."""
    _kill_daemon(run, "slurmdbd")
    run.replaced_commands.mkdir(exist_ok=True)
    for command in ("sacct", "sacctmgr"):
        script = run.replaced_commands / command
        script.write_text(f"#!/bin/sh\necho '{command}: no accounting' >&2\nexit 1\n")
        script.chmod(0o755)

    def bring_back() -> None:
        for command in ("sacct", "sacctmgr"):
            (run.replaced_commands / command).unlink(missing_ok=True)
        run.restart()

    run.break_until("accounting", 2 * planned.seconds, bring_back)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        raise Missed("it had ended by itself") from None
    await_gone(pid)


def _kill_daemon(run: ChaosRun, name: str, gently: bool = False) -> None:
    process = run.cluster.daemons.process(name)
    if process is None or not run.cluster.daemons.lives(name):
        raise Missed(f"{name} is down")
    if gently:
        run.cluster.daemons.stop(name)
        return
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not run.cluster.daemons.lives(name))


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
    "squeue is silent": silent_squeue,
    "squeue answers of old": cached_squeue,
    "scancel by somebody else": cancel_by_somebody_else,
    "a GPU breaks": break_a_gpu,
    HELPER_KILLED: kill_a_helper,
}
