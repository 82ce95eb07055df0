"""ThermoLion's step as tensor arithmetic (arXiv 2512.01881), one parameter tensor at a time.

The readable reference of every faster form. Holds no state and draws no noise.

ThermoLion's step tensor by tensor, as `update` writes it; slow, and what others must equal.
"""

from torch import Tensor

from thermolion.step.exploration import Exploration
from thermolion.step.state import Hyper, StepTensors

# Constants of the method that its class exposes as defaults (paper, update rule).
ALIGNMENT_BOOST = 0.5
SOLID_GAIN = 2.0


def moments_(grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, rates: Hyper) -> None:
    """Take `grad` into the moments m and v, which carry no bias correction.

    The order of operations is that of the published class, and so are the bits.
    """
    exp_avg.mul_(rates.beta1).add_(grad, alpha=1 - rates.beta1)
    exp_avg_sq.mul_(rates.beta2).addcmul_(grad, grad, value=1 - rates.beta2)


def step_direction(
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rates: Hyper,
    *,
    gate_sq: Tensor | None = None,
    kick: Tensor | None = None,
) -> Tensor:
    """Return u of one tensor, from moments that know `grad`; all have one shape.

    `kick` is the exploration ξ·√(T·mean(v) + 1e-10), None for a step without. `gate_sq` is the
    second moment that the gate alone refers to, v where it is None.
    """
    eps = rates.floor(exp_avg.dtype)
    magnitude = exp_avg / exp_avg_sq.sqrt().add_(eps)
    bound = rates.bound(exp_avg.dtype)
    if bound is not None:
        magnitude.clamp_(-bound, bound)
    ratio = magnitude if gate_sq is None else exp_avg / gate_sq.sqrt().add_(eps)
    gate = ratio.abs().tanh_()  # 0: gas, the sign; 1: solid, the magnitude
    sign = exp_avg.sign()
    aligned = (sign * grad.sign()).clamp_(0, 1)
    gas = sign.mul_(aligned.mul_(rates.alignment).add_(1))
    if kick is not None:
        gas.add_(kick)
    solid = magnitude.mul_(rates.solid_gain)
    return gas.mul_(1 - gate).add_(solid.mul_(gate))


def apply_(param: Tensor, direction: Tensor, rates: Hyper) -> None:
    """Decay `param` and move it along -`direction`, in place."""
    if rates.weight_decay:
        param.mul_(1 - rates.lr * rates.weight_decay)
    if isinstance(rates.lr, Tensor):
        param.sub_(direction * rates.lr.to(direction.dtype))
    else:
        param.add_(direction, alpha=-rates.lr)


def step(work: StepTensors, rates: Hyper, exploration: Exploration | None) -> None:
    """Take a step of `work`, in place; see `Work` for what else it may be told."""
    for index in range(len(work.params)):
        step_one(work, index, rates, exploration)


def step_one(work: StepTensors, index: int, rates: Hyper, exploration: Exploration | None) -> None:
    """Take the step of the tensor at `index`, of any layout."""
    grad, exp_avg = work.grads[index], work.exp_avgs[index]
    exp_avg_sq = work.exp_avg_sqs[index]
    moments_(grad, exp_avg, exp_avg_sq, rates)
    direction = step_direction(
        grad,
        exp_avg,
        exp_avg_sq,
        rates,
        gate_sq=None if work.gate_sqs is None else work.gate_sqs[index],
        kick=None if exploration is None else exploration.kick(index, exp_avg),
    )
    if work.directions is None:
        apply_(work.params[index], direction, rates)
    else:
        work.directions[index].copy_(direction)
