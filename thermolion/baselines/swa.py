"""SWA: SGD, and beside it the average of the weights at the ends of the later epochs.

Gathers no statistics of normalisations for the average, which takes data: see `SWA.averaged`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import sgd

from thermolion import option_checks
from thermolion.baselines.stepping import BaselineOptimizer, params_with_gradient


class SWA(BaselineOptimizer):
    """Stochastic weight averaging over torch's SGD (arXiv 1803.05407, algorithm 1).

    `steps` is how many the training has, `steps_per_epoch` how many an epoch. After the last step
    of every epoch that ends beyond the share `average_from` of the training, the n-th of them:
    w̄ = w̄ + (w - w̄) / n. The average lies in a parameter's state as `average`; the model holds w,
    and w̄ is what it is to be scored with and kept at: see `averaged`. Raises TypeError or
    ValueError for a hyperparameter that is none.

    The default of `average_from` averages from the eighth of twelve epochs on, as the benchmark
    of arXiv 2512.01881 does; its learning rate is constant.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        average_from: float = 0.6,
        *,
        steps: int | None = None,
        steps_per_epoch: int = 1,
    ) -> None:
        own = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        pace = {"average_from": average_from, "steps": steps, "steps_per_epoch": steps_per_epoch}
        # The first group's counts are those of the optimizer.
        super().__init__(params, own | pace | {"taken": 0, "averages": 0})

    @property
    def averages(self) -> int:
        """How many weights the average is of; at none, it is the weights themselves."""
        count: int = self.param_groups[0]["averages"]
        return count

    def average(self, param: Tensor) -> Tensor:
        """Return the averaged values of a parameter, or its own where there are none yet."""
        kept: Tensor = self.state[param].get("average", param) if param in self.state else param
        return kept.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Have the parameters at their averages within the context, and as they were after it.

        Statistics of normalisations are those of the model, not of the average: call
        `torch.optim.swa_utils.update_bn` within, and keep the buffers from before.
        """
        params = [param for group in self.param_groups for param in group["params"]]
        kept = [param.detach().clone() for param in params]
        with torch.no_grad():
            for param in params:
                param.copy_(self.average(param))
        try:
            yield
        finally:
            with torch.no_grad():
                for param, before in zip(params, kept, strict=True):
                    param.copy_(before)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        option_checks.check_rate("lr", options["lr"])
        for name in ("momentum", "average_from"):
            option_checks.check_fraction(name, options[name])
        option_checks.check_at_least_zero("weight_decay", options["weight_decay"])
        for name in ("steps", "steps_per_epoch"):
            option_checks.check_whole_number(name, options[name], least=1)

    def _update(self) -> None:
        for group in self.param_groups:
            self._take_sgd_step(group)
        lead = self.param_groups[0]
        lead["taken"] += 1
        beyond = lead["taken"] > lead["average_from"] * lead["steps"]
        if beyond and lead["taken"] % lead["steps_per_epoch"] == 0:
            lead["averages"] += 1
            for group in self.param_groups:
                self._take_in(group["params"])

    def _take_sgd_step(self, group: dict[str, Any]) -> None:
        params = params_with_gradient(group)
        buffers = [self.state[param].get("momentum_buffer") for param in params]
        sgd(
            params,
            [param.grad for param in params if param.grad is not None],
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        if group["momentum"]:
            for param, buffer in zip(params, buffers, strict=True):
                self.state[param]["momentum_buffer"] = buffer

    def _take_in(self, params: list[Tensor]) -> None:
        """Take the weights into their averages; those of a group that came later are of fewer."""
        for param in params:
            state = self.state[param]
            state["averaged"] = state.get("averaged", 0) + 1
            if "average" in state:
                state["average"].add_((param.detach() - state["average"]) / state["averaged"])
            else:
                state["average"] = param.detach().clone(memory_format=torch.preserve_format)
