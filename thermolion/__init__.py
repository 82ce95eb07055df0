"""ThermoLion, its baselines, and what a script calls under DDP and in a sweep.

Importing the package loads nothing: planning on a login node must not pay for torch. A script that
logs does so in a Python of its own, which may be as old as 3.7.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermolion.baselines.lion import Lion
    from thermolion.baselines.swa import SWA
    from thermolion.ddp.attach import attach
    from thermolion.ddp.replica_check import verify_replicas
    from thermolion.errors import InputError, OperationError, ThermolionError
    from thermolion.optimizer import ThermoLion
    from thermolion.run_log import log, log_final, should_stop, state_dir

__all__ = [
    "SWA",
    "InputError",
    "Lion",
    "OperationError",
    "ThermoLion",
    "ThermolionError",
    "attach",
    "log",
    "log_final",
    "should_stop",
    "state_dir",
    "verify_replicas",
]
__version__ = "0.1.0"

# No module may have the name of what is exported: importing it would put it in its place.
_HOMES = {
    "SWA": "baselines.swa",
    "InputError": "errors",
    "Lion": "baselines.lion",
    "OperationError": "errors",
    "ThermoLion": "optimizer",
    "ThermolionError": "errors",
    "attach": "ddp.attach",
    "log": "run_log",
    "log_final": "run_log",
    "should_stop": "run_log",
    "state_dir": "run_log",
    "verify_replicas": "ddp.replica_check",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'thermolion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"thermolion.{_HOMES[name]}"), name)
