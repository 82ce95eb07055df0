"""SWATS as the benchmark of arXiv 2512.01881 has it: Adam for a while, then SGD. No criterion."""

from collections.abc import Mapping
from typing import Any

from torch.optim.optimizer import ParamsT

from thermolion import legal
from thermolion.adam_step import take_adam_step
from thermolion.stepped import Stepped, check_adam, decayed_gradient, moved


class SWATSNotebook(Stepped):
    """Adam for `switch_after` steps, then plain SGD at the same learning rate.

    The simplified form: neither the moment of the switch nor the learning rate after it is
    estimated; `thermolion.swats` does both. The steps are those of the optimizer, of all groups.
    Raises TypeError or ValueError for a hyperparameter that is none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_after: int = 300,
    ) -> None:
        own = {"switch_after": switch_after, "steps": 0}
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay} | own
        )

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        check_adam(options)
        legal.whole("switch_after", options["switch_after"], least=1)

    def _update(self) -> None:
        # A group that came later switches with the others.
        lead = self.param_groups[0]
        for group in self.param_groups:
            if lead["steps"] < lead["switch_after"]:
                take_adam_step(group, self.state)
                continue
            for param in moved(group):
                self.state.pop(param, None)  # Adam's moments, which nobody needs any more
                grad = decayed_gradient(param, group["weight_decay"])
                param.add_(grad, alpha=-group["lr"])
        lead["steps"] += 1
