"""ThermoLion inside a ZeroRedundancyOptimizer, which steps a part of the parameters on each rank.

The noise knows parameters by their place among all of them; loads nothing of torch's.
"""

import sys
from typing import Any

from torch.optim.optimizer import Optimizer

_DEPTH = 12  # frames between the constructor and ZeroRedundancyOptimizer's, with room for wrappers


def is_zero(optimizer: object) -> bool:
    """Whether it is a ZeroRedundancyOptimizer; its module, slow to load, is not loaded here."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer)


def is_being_built_inside() -> bool:
    """Whether a caller is a ZeroRedundancyOptimizer that makes its rank's optimizer.

    It hands over a part of the parameters and does not say so: the stack alone tells.
    """
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if is_zero(frame.f_locals.get("self")):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def number_parameters(optimizer: Any) -> None:
    """Give the parameters of a rank's ThermoLion, from the next step on, the ids of the whole.

    Before every step, because ZeroRedundancyOptimizer copies the options of groups to and fro,
    and from checkpoints that another rank has written.
    """

    def renumber(*_: object) -> None:
        params = [param for group in optimizer.param_groups for param in group["params"]]
        numbers = {param: number for number, param in enumerate(params)}
        for outer, inner in zip(optimizer.param_groups, optimizer.optim.param_groups, strict=True):
            outer["param_ids"] = [numbers[param] for param in inner["params"]]

    renumber()
    whole: Optimizer = optimizer
    whole.register_step_pre_hook(renumber)
