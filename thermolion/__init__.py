"""ThermoLion, its baselines and the registry of optimizers.

Importing the package loads nothing: planning on a login node must not pay for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermolion.baselines import Lion
    from thermolion.optimizer import ThermoLion

__all__ = ["Lion", "ThermoLion"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "ThermoLion":
        from thermolion.optimizer import ThermoLion

        return ThermoLion
    if name == "Lion":
        from thermolion.baselines import Lion

        return Lion
    raise AttributeError(f"module 'thermolion' has no attribute {name!r}")
