"""Where tests get processes from: forked from one that has loaded torch, and what ranks need.

What is saved is the import of torch, seconds of a core for each process; what a process does is
what it always does.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any
from unittest.mock import patch

from jobs.contract.pack import LANE_ENVIRONMENT

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.nn.parallel",
        "torch.distributed.optim",
        "jobs.lane",
        "jobs.images.loop",
    ]
)


def fork(target: Callable[..., Any], *arguments: Any, daemon: bool = False) -> ForkServerProcess:
    """Start a process that calls `target`, a function of a module that can be imported."""
    with patch.dict(os.environ, LANE_ENVIRONMENT):
        forkserver.ensure_running()  # with the variables that a lane begins with
    process = CONTEXT.Process(target=target, args=arguments, daemon=daemon)
    process.start()
    return process
