"""The verb `cluster`: start a real SLURM on this machine, show its state, stop it."""

import os
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.terminal import Exit, print_result, say

if TYPE_CHECKING:
    from slurm.devcluster.cluster import Cluster


def cluster(arguments: Namespace) -> int:
    """Bring the cluster of a folder up or down, or say how it is.

    `up` prints what a shell needs, so that `eval "$(thermolion cluster up)"` is enough.
    """
    act = {"up": _up, "status": _status, "down": _down}[arguments.action]
    folder = arguments.dir or _default_folder()
    return act(folder.absolute(), arguments)


def _up(folder: Path, arguments: Namespace) -> int:
    from slurm.devcluster.cluster import make_cluster
    from slurm.devcluster.config import Shape

    shape = Shape(
        nodes=arguments.nodes,
        cpus=arguments.cpus,
        gpus=arguments.gpus,
        accounting=arguments.accounting,
        max_array_size=arguments.max_array_size,
        submit_cap=arguments.submit_cap,
    )
    made = make_cluster(folder, shape)
    made.up()
    nodes = made.nodes()
    say(
        f"SLURM is up in {folder}: {len(nodes)} nodes of {shape.cpus} CPUs and {shape.gpus} fake "
        f"GPUs, partitions main and urgent. Now, in this shell:"
    )
    print_result("\n".join(_exports(made)))
    where = f" --dir {shlex.quote(str(folder))}" if arguments.dir else ""
    say(f"then: thermolion run SWEEP --backend slurm; in the end: thermolion cluster down{where}")
    return Exit.DONE


def _status(folder: Path, _arguments: Namespace) -> int:
    from slurm.devcluster.cluster import read_cluster

    known = read_cluster(folder)
    if known is None:
        print_result(f"no cluster in {folder}: thermolion cluster up makes one")
        return Exit.FAILED
    states = known.states()
    lines = [f"{name:<12} {'up' if alive else 'down'}" for name, alive in states.items()]
    if all(states.values()):
        lines += [f"node {name:<7} {state}" for name, state in known.nodes().items()]
    print_result("\n".join([*lines, *_exports(known)]))
    return Exit.DONE if all(states.values()) else Exit.FAILED


def _down(folder: Path, _arguments: Namespace) -> int:
    from slurm.devcluster.cluster import read_cluster

    known = read_cluster(folder)
    stopped = 0 if known is None else known.down()
    print_result(f"{stopped} daemons stopped" if stopped else f"no cluster is up in {folder}")
    return Exit.DONE


def _exports(cluster: "Cluster") -> list[str]:
    """Return the lines by which a shell sends to a cluster."""
    return [f"export {name}={shlex.quote(value)}" for name, value in cluster.environment.items()]


def _default_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "thermolion" / "cluster"
