"""The step of torch's Adam on one parameter group, as a part of other optimizers' steps.

The function that torch.optim.Adam calls, with the state it keeps: the same bits. A subclass would
call `step` within `step`, and so the hooks on steps twice.
"""

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from thermolion.stepped import moved


def take_adam_step(
    group: dict[str, Any], states: MutableMapping[Tensor, dict[str, Any]]
) -> list[Tensor]:
    """Move the parameters of a group that have a gradient; return them.

    The group has lr, betas, eps and weight_decay (L2); `states` is the optimizer's.
    """
    params = moved(group)
    for param in params:
        state = states[param]
        if "step" not in state:
            # As torch has it: on the host, where it costs a GPU no transfer.
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
    beta1, beta2 = group["betas"]
    adam(
        params,
        [param.grad for param in params if param.grad is not None],
        [states[param]["exp_avg"] for param in params],
        [states[param]["exp_avg_sq"] for param in params],
        [],
        [states[param]["step"] for param in params],
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
    return params
