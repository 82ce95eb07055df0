"""ThermoLion, its baselines, the registry of optimizers; the doors to DDP and of a script's log.

Importing the package loads nothing: planning on a login node must not pay for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermolion.agreement import verify_replicas
    from thermolion.baselines import Lion
    from thermolion.distributed import attach
    from thermolion.door import log, log_final, should_stop, state_dir
    from thermolion.errors import InputError, OperationError, ThermolionError
    from thermolion.optimizer import ThermoLion
    from thermolion.swa import SWA

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
    "SWA": "swa",
    "InputError": "errors",
    "Lion": "baselines",
    "OperationError": "errors",
    "ThermoLion": "optimizer",
    "ThermolionError": "errors",
    "attach": "distributed",
    "log": "door",
    "log_final": "door",
    "should_stop": "door",
    "state_dir": "door",
    "verify_replicas": "agreement",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'thermolion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"thermolion.{_HOMES[name]}"), name)
