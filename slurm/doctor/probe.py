"""What a job of the doctor does on its nodes, a process a node: `python -m slurm.doctor.probe
FOLDER`.

It answers a file with a file, says what Python it is, and meets the others as ranks of a trial do.
"""

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jobs.contract.atomic_write import write_atomically
from jobs.contract.source_digest import code_digest
from jobs.ranks.ddp import DistributedGroup
from jobs.ranks.group import RendezvousError
from jobs.ranks.launch import Launch
from slurm.commands import ask
from slurm.environment import JobProcess, read_job_process
from slurm.node import join_ranks
from slurm.slurm_errors import SlurmError

READY, BACK, AGAIN, TEST = "ready", "back", "again.json", "sbatch.json"
MEETING_S = 60.0
ANSWER_S = 120.0  # file systems of clusters have been seen to take a minute
_LOOK_S = 0.02


def describe_python() -> dict[str, Any]:
    """Return the versions that have to be the same on the login node and on every other node."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "code": code_digest(),
    }


def main() -> None:
    """Examine this node and write what was found out into a file of this process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = Path(sys.argv[1])
    here = read_job_process(os.environ)
    record = describe_python() | {
        "node": here.node_name,
        "executable": sys.executable,
        "gpu": torch.cuda.is_available(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "failures": {},
    }
    if here.process == 0:
        _attempt(record, "answer", lambda: _answer(folder))
        _attempt(record, "sbatch", lambda: _send(folder))
    if here.processes > 1:
        _attempt(record, "meet", lambda: _meet(folder, here))
    write_atomically(folder / f"{here.process}.json", json.dumps(record))


def _attempt(record: dict[str, Any], name: str, act: Callable[[], None]) -> None:
    begin = time.monotonic()
    try:
        act()
        record[f"{name}_s"] = time.monotonic() - begin
    except (SlurmError, RendezvousError, OSError, RuntimeError) as error:
        record["failures"][name] = str(error)


def _answer(folder: Path) -> None:
    """Answer the login node as soon as its file is seen here, with the time of this clock."""
    (folder / READY).touch()
    end = time.monotonic() + ANSWER_S
    while not (folder / BACK).exists():
        if time.monotonic() > end:
            raise SlurmError(f"no file of the login node is seen here within {ANSWER_S:.0f} s")
        list(folder.iterdir())  # has a network file system look anew
        time.sleep(_LOOK_S)
    write_atomically(folder / AGAIN, json.dumps({"time_s": time.time()}))


def _send(folder: Path) -> None:
    """Ask sbatch if it would take a job from here."""
    ask(json.loads((folder / TEST).read_text())["command"])


def _meet(folder: Path, here: JobProcess) -> None:
    """Meet the other processes as ranks of a trial do, and add up a number that each has."""
    meeting = folder / f"{here.job}.meet"
    ranks = DistributedGroup(join_ranks(Launch(), here, meeting, MEETING_S))
    total = torch.ones(1, dtype=torch.int64)
    ranks.sum(total)
    ranks.leave()
    if int(total) != here.processes:
        raise RendezvousError(f"{here.processes} ranks have added up to {int(total)}")


if __name__ == "__main__":
    main()
