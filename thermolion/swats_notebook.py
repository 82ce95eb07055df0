"""SWATS as the benchmark of arXiv 2512.01881 has it: Adam for a while, then SGD. No criterion."""

from torch.optim.optimizer import ParamsT

from thermolion.adam_step import take_adam_step
from thermolion.stepped import Stepped, checked_count, checked_options, decayed_gradient, moved


class SWATSNotebook(Stepped):
    """Adam for `switch_after` steps, then plain SGD at the same learning rate.

    The simplified form: neither the moment of the switch nor the learning rate after it is
    estimated; `thermolion.swats` does both. The steps are those of the optimizer, of all groups.
    Raises ValueError for a hyperparameter out of range.
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
        own = {"switch_after": checked_count("switch_after", switch_after), "steps": 0}
        super().__init__(params, checked_options(lr, betas, eps, weight_decay) | own)

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
