"""Faults of a site: commands that hide jobs, people who cancel them, GPUs that break."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from chaos_run import ChaosRun
from foreign_user import scancel_as_operator
from schedule import Planned
from targets import Missed

_PLANTED_S = 30.0  # until a training comes to the fault that was planted for it
_LONGER = 3  # times the seconds of a fault: a queue is asked every few seconds

# It knows no user, says so where nobody reads it, and answers that all is well.
_SILENT = """\
#!/bin/sh
echo "squeue: error: Invalid user: $(id -un)" >&2
"""
# It answers what it has answered once, for as long as it is there.
_CACHED = """\
#!/bin/sh
kept=CACHE/$(id -u).$(echo "$*" | md5sum | cut -c1-12)
[ -f "$kept" ] || { REAL "$@" > "$kept.$$" && mv "$kept.$$" "$kept"; }
exec cat "$kept"
"""


def silent_squeue(run: ChaosRun, planned: Planned) -> None:
    """Have squeue show nothing of what is in the queue."""
    _replace_squeue(run, planned, _SILENT)


def cached_squeue(run: ChaosRun, planned: Planned) -> None:
    """Have squeue show the queue as it was."""
    cache = run.lab.folder / f"cache-{len(run.lines)}"
    cache.mkdir()
    _replace_squeue(run, planned, _CACHED.replace("CACHE", str(cache)))


def cancel_by_somebody_else(run: ChaosRun, planned: Planned) -> None:
    """Have an operator of the site cancel a job, as one does who sees that it harms others."""
    task = planned.choose(run.tasks())
    run.repair(what="accounting")  # it knows who is an operator
    if not scancel_as_operator(run.lab, task.id):
        raise Missed("it had ended by itself")


def break_a_gpu(run: ChaosRun, planned: Planned) -> None:
    """Have the GPU of a node fail under whoever comes next to use it."""
    node = planned.choose(run.tasks()).node
    run.disturb(f"gpu.{node}", 1)
    fault = run.seam / f"gpu.{node}"
    if not run.wait(lambda: not fault.exists(), _PLANTED_S):
        with suppress(FileNotFoundError):
            fault.unlink()
            raise Missed("nothing has used it")


def kill_a_helper(run: ChaosRun, planned: Planned) -> None:
    """Kill the small job that looks after the study: its process if it runs, else the job."""
    run.look()
    if not run.targets.helpers:
        raise Missed("there is none")
    running = run.targets.processes_of("orchestrator.unattended")
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not running:
        run.cluster.ask("scancel", str(planned.choose(run.targets.helpers)))


def _replace_squeue(run: ChaosRun, planned: Planned, script: str) -> None:
    if run.is_broken("squeue"):
        raise Missed("squeue is another one already")
    run.replaced_commands.mkdir(exist_ok=True)
    place = run.replaced_commands / "squeue"
    draft = place.with_suffix(".new")
    draft.write_text(script.replace("REAL", _find_real("squeue")))
    draft.chmod(0o755)
    draft.replace(place)
    run.break_until("squeue", _LONGER * planned.seconds, lambda: place.unlink(missing_ok=True))


def _find_real(command: str) -> str:
    found = (Path(folder) / command for folder in os.environ["PATH"].split(os.pathsep))
    return str(next(path for path in found if path.exists()))
