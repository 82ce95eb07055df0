"""What the baselines share: checked options, and the step of torch's Adam as a part of a step."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.optimizer import ParamsT

from thermolion import option_checks
from thermolion.closure import ClosureOptimizer


class BaselineOptimizer(ClosureOptimizer):
    """An optimizer with checked options, which a subclass names in `_check`.

    All of its memory is in `state` and `param_groups`, as tensors, numbers and None, and so in
    `state_dict()`, in a copy and in a pickle. The constructor and
    `add_param_group` raise TypeError for a hyperparameter of a wrong type, and ValueError for one
    out of range.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._check(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose options are checked as those of the constructor are."""
        if isinstance(param_group, dict):  # anything else is torch's to refuse
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for an illegal option."""
        raise NotImplementedError


def check_adam(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for an illegal option of Adam's."""
    option_checks.check_rate("lr", options["lr"])
    option_checks.check_betas("betas", options["betas"])
    for name in ("eps", "weight_decay"):
        option_checks.check_at_least_zero(name, options[name])


def params_with_gradient(group: dict[str, Any]) -> list[Tensor]:
    """Return the parameters of a group that have a gradient."""
    return [param for param in group["params"] if param.grad is not None]


def compute_l2_gradient(param: Tensor, weight_decay: float) -> Tensor:
    """Return the gradient of the loss with its L2 penalty, weight_decay / 2 · |θ|²."""
    assert param.grad is not None
    return param.grad.add(param, alpha=weight_decay) if weight_decay else param.grad


def init_moments(state: dict[str, Any], param: Tensor) -> dict[str, Any]:
    """Return the state of a parameter, with moments of zeros if it has none."""
    if "exp_avg" not in state:
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
    return state


def take_adam_step(
    group: dict[str, Any], states: MutableMapping[Tensor, dict[str, Any]]
) -> list[Tensor]:
    """Move the parameters of a group that have a gradient, bit for bit as torch.optim.Adam does.

    Return them. The group has lr, betas, eps and weight_decay (L2); `states` is the optimizer's.
    A subclass of Adam would call `step` within `step`, and so the hooks on steps twice.
    """
    params = params_with_gradient(group)
    for param in params:
        state = init_moments(states[param], param)
        if "step" not in state:
            # As torch has it: on the host, where it costs a GPU no transfer.
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
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
