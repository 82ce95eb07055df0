"""What the baselines share: checked options, and the step of torch's Adam as a part of a step."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.optimizer import ParamsT

from thermolion.closure import ClosureOptimizer
from thermolion.option_checks import check_options

ADAM_OPTIONS = ("lr", "betas", "eps", "weight_decay")


class BaselineOptimizer(ClosureOptimizer):
    """An optimizer that checks its hyperparameters, whose names a subclass has in `options`.

    All of its memory is in `state` and `param_groups`, as tensors, numbers and None, and so in
    `state_dict()`, in a copy and in a pickle. The constructor and `add_param_group` raise
    TypeError for a hyperparameter of a wrong type, and ValueError for one out of range.
    """

    options: tuple[str, ...]

    def __init__(self, params: ParamsT, **defaults: Any) -> None:
        check_options(defaults, self.options)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose options are checked as those of the constructor are."""
        if isinstance(param_group, dict):  # anything else is torch's to refuse
            check_options({**self.defaults, **param_group}, self.options)
        super().add_param_group(param_group)

    def _moving(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Yield each parameter that has a gradient, and its group."""
        for group in self.param_groups:
            for param in params_with_gradient(group):
                yield param, group


def read_rate(group: dict[str, Any]) -> Any:
    """Return the learning rate of a group: a number, or a 0-dim tensor.

    torch takes a 0-dim tensor wherever it takes a number, and one of another shape does not fit.
    """
    rate = group["lr"]
    return rate.reshape(()) if isinstance(rate, Tensor) else rate


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


def update_moments(
    state: dict[str, Any], param: Tensor, group: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return g, m and v: the gradient with its L2 penalty, and Adam's moments, which it updates.

    m = β1 m + (1-β1) g; v = β2 v + (1-β2) g². The moments are those in `state`, without bias
    correction.
    """
    grad = compute_l2_gradient(param, group["weight_decay"])
    init_moments(state, param)
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    beta1, beta2 = group["betas"]
    exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    return grad, exp_avg, exp_avg_sq


def take_adam_step(group: dict[str, Any], states: MutableMapping[Tensor, dict[str, Any]]) -> None:
    """Move the parameters of a group that have a gradient, bit for bit as torch.optim.Adam does.

    The group has lr, betas, eps and weight_decay (L2); `states` is the optimizer's. An Adam whose
    `step` is called within another `step` would call the hooks on steps twice.
    """
    params = params_with_gradient(group)
    moving = [init_moments(states[param], param) for param in params]
    for state in moving:
        if not isinstance(state.get("step"), Tensor):  # a number in what others have saved
            # As torch has it: on the host, where it costs a GPU no transfer.
            state["step"] = torch.tensor(float(state.get("step", 0)), dtype=torch.float32)
    beta1, beta2 = group["betas"]
    adam(
        params,
        [param.grad for param in params if param.grad is not None],
        [state["exp_avg"] for state in moving],
        [state["exp_avg_sq"] for state in moving],
        [],
        [state["step"] for state in moving],
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=read_rate(group),
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
