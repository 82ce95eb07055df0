"""An optimizer's `step` around its update: closure and gradient mode. No update of its own.

The step of torch's Adam on one parameter group, as a part of other optimizers' steps.

The function that torch.optim.Adam calls, with the state it keeps: the same bits. A subclass would
call `step` within `step`, and so the hooks on steps twice.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.optimizer import Optimizer, ParamsT

from thermolion import option_checks


class BaselineOptimizer(Optimizer):
    """What the baselines of this package have in common.

    They keep all of their memory in `state` and `param_groups`, as tensors, numbers and None:
    so it is in `state_dict()`, in a copy and in a pickle, whole. The constructor and
    `add_param_group` raise TypeError for a hyperparameter of a wrong type, and ValueError for one
    out of range.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._check(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose own options are looked at as the constructor's are."""
        if isinstance(param_group, dict):  # anything else is torch's to refuse
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for an option that is none."""
        raise NotImplementedError

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients at hand; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    def _update(self) -> None:
        """Change the parameters by their gradients."""
        raise NotImplementedError


def check_adam(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for an option of Adam's that is none."""
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


def take_adam_step(
    group: dict[str, Any], states: MutableMapping[Tensor, dict[str, Any]]
) -> list[Tensor]:
    """Move the parameters of a group that have a gradient; return them.

    The group has lr, betas, eps and weight_decay (L2); `states` is the optimizer's.
    """
    params = params_with_gradient(group)
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
