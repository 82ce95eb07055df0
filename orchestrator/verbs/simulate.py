"""The part of `doctor` that strikes a training on purpose, and shows that it goes on."""

from argparse import Namespace

from orchestrator.sweep_file import SweepError
from orchestrator.verbs.terminal import DONE, FAILED, result, say


def simulate(arguments: Namespace) -> int:
    """Send the sweep to a cluster of `thermolion cluster up`, and do to it what sites do."""
    from orchestrator.advance import Request
    from orchestrator.simulation import simulate as strike
    from slurm.simulate import cluster_here

    if arguments.study is None:
        raise SweepError("--simulate needs a sweep, whose training is struck: name its file")
    cluster = cluster_here()
    request = Request(arguments.data)
    resumed = True
    for fault in dict.fromkeys(arguments.simulate):
        say(f"{fault}: a copy of {arguments.study} goes to the cluster of {cluster.paths.folder}")
        ended = strike(arguments.study, cluster, fault, request)
        result(str(ended))
        resumed = resumed and ended.resumed
    return DONE if resumed else FAILED
