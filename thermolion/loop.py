"""ThermoLion's step tensor by tensor, as `update` writes it; slow, and what others must equal."""

from thermolion import update
from thermolion.exploration import Exploration
from thermolion.work import Rates, Work


def step(work: Work, rates: Rates, exploration: Exploration | None) -> None:
    """Take a step of `work`, in place; see `Work` for what else it may be told."""
    for index in range(len(work.params)):
        step_one(work, index, rates, exploration)


def step_one(work: Work, index: int, rates: Rates, exploration: Exploration | None) -> None:
    """Take the step of the tensor at `index`, of any layout."""
    grad, exp_avg = work.grads[index], work.exp_avgs[index]
    exp_avg_sq = work.exp_avg_sqs[index]
    update.moments_(grad, exp_avg, exp_avg_sq, rates)
    direction = update.direction(
        grad,
        exp_avg,
        exp_avg_sq,
        rates,
        gate_sq=None if work.gate_sqs is None else work.gate_sqs[index],
        kick=None if exploration is None else exploration.kick(index, exp_avg),
    )
    if work.directions is None:
        update.apply_(work.params[index], direction, rates)
    else:
        work.directions[index].copy_(direction)
