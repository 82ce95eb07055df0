"""When jobs would start: what `sbatch --test-only` says, asked once for each shape of them.

Sends nothing. A list of partitions means whichever starts first, so each is asked about.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from slurm import commands
from slurm.slurm_errors import SlurmError

_START = re.compile(r"to start at (\S+) using (\d+) proc\w*.*?(?: in partition (\S+))?$", re.M)
# What jobs of one shape differ in.
_OWN = re.compile(r"#SBATCH --(array|job-name|output|error|dependency|comment|begin)\b")
_MOST_SHAPES = 5


@dataclass(frozen=True)
class StartTime:
    """When a job of a shape would start in a partition, by the controller's clock.

    `time` is None if it would be refused, and `refusal` says why. `partition` is None if the site
    chooses it and does not say which.
    """

    shape: int
    partition: str | None
    time: datetime | None
    cpus: int | None = None
    refusal: str | None = None


def ask_starts(scripts: Sequence[str], partitions: Sequence[str | None]) -> list[StartTime]:
    """Ask about the first script of every shape in every partition, or where its script says."""
    shapes: dict[tuple[str, ...], str] = {}
    for script in scripts:
        lines = script.splitlines()
        options = (one for one in lines if one.startswith("#SBATCH") and not _OWN.match(one))
        shapes.setdefault(tuple(options), script)
    return [
        _ask(number, script, partition)
        for number, script in enumerate(list(shapes.values())[:_MOST_SHAPES])
        for partition in (partitions or (None,))
    ]


def _ask(shape: int, script: str, partition: str | None) -> StartTime:
    kept = [one for one in script.splitlines() if not one.startswith("#SBATCH --dependency")]
    there = [] if partition is None else [f"--partition={partition}"]
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write("\n".join(kept) + "\n")
        file.flush()
        try:
            done = commands.run(["sbatch", "--test-only", *there, str(Path(file.name))])
        except SlurmError as error:
            why = str(error).removeprefix("sbatch: ").replace("sbatch: error: ", "")
            return StartTime(shape, partition, None, refusal=why)
    match = _START.search(f"{done.stderr}\n{done.stdout}")
    if match is None:
        return StartTime(shape, partition, None, refusal="sbatch --test-only names no time")
    try:
        time = datetime.fromisoformat(match[1]).astimezone()  # the zone of the cluster is ours
    except ValueError:
        return StartTime(shape, partition, None, refusal=f"no time known: {match[1]}")
    return StartTime(shape, match[3] or partition, time, int(match[2]))
