"""ThermoLion's step as tensor arithmetic (arXiv 2512.01881), one parameter tensor at a time.

Slow and readable: what every faster form must equal. Holds no state and draws no noise.
"""

from torch import Tensor

from thermolion.step.exploration import Exploration
from thermolion.step.state import Hyper, StepTensors

# Constants of the method that its class exposes as defaults (paper, update rule).
ALIGNMENT_BOOST = 0.5
SOLID_GAIN = 2.0


def moments_(grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyper: Hyper) -> None:
    """Update the moments m and v, which have no bias correction, by `grad`.

    The order of operations is that of the published class, and so are the bits.
    """
    exp_avg.mul_(hyper.beta1).add_(grad, alpha=1 - hyper.beta1)
    exp_avg_sq.mul_(hyper.beta2).addcmul_(grad, grad, value=1 - hyper.beta2)


def step_direction(
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    hyper: Hyper,
    gate_sq: Tensor | None,
    noise: Tensor | None,
) -> Tensor:
    """Return u of one tensor, from moments that include `grad`; all have one shape.

    `noise` is the exploration ξ·√(T·mean(v) + 1e-10), None for a step without it. `gate_sq` is
    the second moment that the gate alone refers to; v if it is None.
    """
    eps = hyper.floor(exp_avg.dtype)
    magnitude = exp_avg / exp_avg_sq.sqrt().add_(eps)
    bound = hyper.bound(exp_avg.dtype)
    if bound is not None:
        magnitude.clamp_(-bound, bound)
    ratio = magnitude if gate_sq is None else exp_avg / gate_sq.sqrt().add_(eps)
    gate = ratio.abs().tanh_()  # 0: gas, the sign; 1: solid, the magnitude
    sign = exp_avg.sign()
    aligned = (sign * grad.sign()).clamp_(0, 1)
    gas = sign.mul_(aligned.mul_(hyper.alignment).add_(1))
    if noise is not None:
        gas.add_(noise)
    solid = magnitude.mul_(hyper.solid_gain)
    return gas.mul_(1 - gate).add_(solid.mul_(gate))


def apply_(param: Tensor, direction: Tensor, hyper: Hyper) -> None:
    """Decay `param` and move it along -`direction`, in place."""
    if hyper.weight_decay:
        param.mul_(1 - hyper.lr * hyper.weight_decay)
    if isinstance(hyper.lr, Tensor):
        param.sub_(direction * hyper.lr.to(direction.dtype))
    else:
        param.add_(direction, alpha=-hyper.lr)


def step(tensors: StepTensors, hyper: Hyper, exploration: Exploration | None) -> None:
    """Take a step of `tensors`, in place; see `StepTensors` for its optional lists."""
    for index in range(len(tensors.params)):
        step_one(tensors, index, hyper, exploration)


def step_one(
    tensors: StepTensors, index: int, hyper: Hyper, exploration: Exploration | None
) -> None:
    """Take the step of the tensor at `index`, of any layout."""
    grad, exp_avg = tensors.grads[index], tensors.exp_avgs[index]
    exp_avg_sq = tensors.exp_avg_sqs[index]
    moments_(grad, exp_avg, exp_avg_sq, hyper)
    gate_sq = None if tensors.gate_sqs is None else tensors.gate_sqs[index]
    noise = None if exploration is None else exploration.draw(index, tensors.params[index])
    direction = step_direction(grad, exp_avg, exp_avg_sq, hyper, gate_sq, noise)
    if tensors.directions is None:
        apply_(tensors.params[index], direction, hyper)
    else:
        tensors.directions[index].copy_(direction)
