"""SWA: SGD, and the average of the weights at the ends of the later epochs.

Recomputes no statistics of normalisation layers for the average, which takes data: see
`SWA.averaged`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import sgd

from thermolion.baselines.stepping import BaselineOptimizer, params_with_gradient, read_rate


class SWA(BaselineOptimizer):
    """Take steps of torch's SGD, and average the weights over the later epochs.

    `steps` is the number of steps of the training, `steps_per_epoch` that of an epoch. After the
    last step of the n-th epoch that ends beyond the share `average_from` of the training:
    w̄ = w̄ + (w - w̄) / n. The average w̄ is kept in a parameter's state as `average`; the model
    holds w, and is to be scored and saved at w̄: see `averaged`. The learning rate is constant
    unless a schedule changes it. Source: arXiv 1803.05407, algorithm 1. Raises TypeError or
    ValueError for an illegal hyperparameter.

    The default of `average_from` averages from the eighth of twelve epochs on, as the benchmark
    of arXiv 2512.01881 does.
    """

    options = ("lr", "momentum", "weight_decay", "average_from", "steps", "steps_per_epoch")

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
        super().__init__(params, **own, **pace, taken=0, averages=0)

    @property
    def averages(self) -> int:
        """Return over how many epochs' weights the average is; 0 before the first."""
        count: int = self.param_groups[0]["averages"]
        return count

    def average(self, param: Tensor) -> Tensor:
        """Return the average of a parameter, or its own values if there is none yet."""
        average: Tensor = self.state.get(param, {}).get("average", param)
        return average.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Set the parameters to their averages within the context, and back after it.

        Running statistics of normalisation layers stay those of the model, not of the average:
        call `torch.optim.swa_utils.update_bn` within, and restore the buffers afterwards.
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

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict as torch's optimizers do.

        torch gives what is in a state the type of its parameter, in which a count of averages may
        not be exact: counts are taken as they were saved.
        """
        given: list[Mapping[str, Any]] = []
        last = self.register_load_state_dict_pre_hook(lambda _, state: given.append(state))
        try:
            super().load_state_dict(dict(state_dict))
        finally:
            last.remove()
        for saved, group in zip(given[-1]["param_groups"], self.param_groups, strict=True):
            for key, param in zip(saved["params"], group["params"], strict=True):
                count = given[-1]["state"].get(key, {}).get("averaged")
                if count is not None:
                    self.state[param]["averaged"] = torch.tensor(float(count))

    def _update(self) -> None:
        for group in self.param_groups:
            self._take_sgd_step(group)
        lead = self.param_groups[0]
        lead["taken"] += 1
        beyond = lead["taken"] > lead["average_from"] * lead["steps"]
        if beyond and lead["taken"] % lead["steps_per_epoch"] == 0:
            lead["averages"] += 1
            for group in self.param_groups:
                self._add_to_averages(group["params"])

    def _take_sgd_step(self, group: dict[str, Any]) -> None:
        params = params_with_gradient(group)
        buffers = [self.state[param].get("momentum_buffer") for param in params]
        sgd(
            params,
            [param.grad for param in params if param.grad is not None],
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=read_rate(group),
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        if group["momentum"]:
            for param, buffer in zip(params, buffers, strict=True):
                self.state[param]["momentum_buffer"] = buffer

    def _add_to_averages(self, params: list[Tensor]) -> None:
        """Add the weights to their averages; those of a group added later are over fewer."""
        for param in params:
            state = self.state[param]
            count = int(state.get("averaged", 0)) + 1
            # A tensor, because a distributed checkpoint leaves plain numbers behind.
            state["averaged"] = torch.tensor(float(count))
            if "average" in state:
                state["average"].add_((param.detach() - state["average"]) / count)
            else:
                state["average"] = param.detach().clone(memory_format=torch.preserve_format)
