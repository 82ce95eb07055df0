"""Notice gradients that still have the scale of a GradScaler, with which noise would drown a step.

Unscales nothing.
"""

import gc
import warnings
from collections.abc import Iterable

from torch import Tensor
from torch.amp.grad_scaler import GradScaler, OptState

# Of √mean(v), the scale of the noise in steps by the sign, which it then drowns.
_LOUD = 1.0


def warn_if_left(means: Iterable[Tensor | None]) -> None:
    """Warn if some GradScaler has not unscaled, and the noise is loud by the `means` of v (0-dim).

    For once: it looks through all objects of the process, and if there is such a scaler, it waits
    for the device.
    """
    known = [mean for mean in means if mean is not None and mean.device.type != "meta"]
    if all(mean.device.type == "cpu" and not mean.sqrt() > _LOUD for mean in known):
        return
    for one in gc.get_objects():
        if issubclass(type(one), GradScaler) and _is_left(one):
            if any(bool(mean.sqrt() > _LOUD) for mean in known):
                warnings.warn(
                    "the gradients of this step seem to have the scale of a GradScaler, "
                    f"{one.get_scale():g}: call scaler.step(optimizer), or scaler.unscale_("
                    "optimizer) before the step. The noise grows with that scale, and the step "
                    "does not",
                    stacklevel=2,
                )
            return


def _is_left(scaler: GradScaler) -> bool:
    """Return True if a scaler has scaled a loss and unscaled for no optimizer since."""
    states = scaler._per_optimizer_states.values()
    waits = all(state["stage"] is OptState.READY for state in states)
    return scaler.is_enabled() and scaler._scale is not None and waits
