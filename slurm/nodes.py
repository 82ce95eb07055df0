"""The nodes of a job: their names, and the addresses by which they reach each other."""

import os
import re
import socket

from slurm.commands import ask

_TOLD = "THERMOLION_NODE_ADDRESS"


def expand(node_list: str) -> tuple[str, ...]:
    """Return the names in a list of nodes as SLURM writes it, such as n[1-3]."""
    return tuple(ask(["scontrol", "show", "hostnames", node_list]).split())


def address_of(node: str) -> str:
    """Return the IP address of this node, by which the others of its job reach it.

    It is the one by which SLURM does, unless a site's `python` has set another one. Where its name
    resolves to none here, it is what this machine has by its own name.
    """
    told = os.environ.get(_TOLD)
    if told:
        return told
    found = re.search(r"\bNodeAddr=(\S+)", ask(["scontrol", "show", "node", node]))
    for name in (found[1] if found else node, node, socket.gethostname()):
        try:
            return socket.gethostbyname(name)
        except OSError:
            continue
    return "127.0.0.1"
