"""Convert state dicts of ThermoLion that the author's published class or an older version wrote.

Writes none in their formats.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thermolion.step.exploration import explores
from thermolion.step.state import MEAN_SQUARE

# The published class's names of what is ours.
_PUBLISHED = {"m": "exp_avg", "v": "exp_avg_sq"}
# Ours are derived from the step: T_t = decay^t.
_TEMPERATURES = ("temp", "temperature", "T")
# Relative, of a temperature: a product of hundreds of single-precision numbers is as far off.
_TOLERANCE = 1e-4


def translate(state_dict: Mapping[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a state dict in our names, whose groups lack no option that `groups` have.

    The given one is left as it is. Raises ValueError for a temperature that is not the group's
    `temp_decay` to the power of the step, and for moments without a step.
    """
    saved = [dict(group) for group in state_dict["param_groups"]]
    for group, own in zip(saved, groups, strict=False):  # another number is torch's to refuse
        for name, value in own.items():
            if name not in ("params", "param_names"):
                group.setdefault(name, value)
    decays = {number: group["temp_decay"] for group in saved for number in group["params"]}
    state = {
        number: _translated(kept, decays[number]) if number in decays else kept
        for number, kept in state_dict["state"].items()
    }
    return {**state_dict, "state": state, "param_groups": saved}


def _translated(kept: Mapping[str, Any], decay: float) -> dict[str, Any]:
    state = {_PUBLISHED.get(name, name): value for name, value in kept.items()}
    if "exp_avg" in state and "step" not in state:
        raise ValueError(
            f"the state of a parameter has {', '.join(kept)} and no step, which the noise is "
            "looked up by: add how many steps it has taken"
        )
    if "step" in state and not isinstance(state["step"], Tensor):
        state["step"] = torch.tensor(float(state["step"]))
    for name in _TEMPERATURES:
        if name in state:
            _check_temperature(name, float(state.pop(name)), float(state["step"]), decay)
    return state


def _check_temperature(name: str, temperature: float, step: float, decay: float) -> None:
    """Raise ValueError for another temperature than the step's, unless neither adds noise.

    In a long training the product of the published class stays at the smallest number above zero,
    and the power does not.
    """
    expected = decay**step
    if not (explores(temperature) or explores(expected)):
        return
    if abs(temperature - expected) > _TOLERANCE * expected:
        right = f" to {temperature ** (1 / step)!r}" if step and temperature > 0 else ""
        raise ValueError(
            f"{name} is {temperature!r} after step {step:g}, temp_decay {decay!r} gives "
            f"{expected!r}: set temp_decay of the saved group{right}"
        )


def find_unrounded(
    state_dict: Mapping[str, Any], groups: list[dict[str, Any]]
) -> dict[Tensor, Tensor]:
    """Return mean(v) by parameter, on its device, in the type of `state_dict`.

    torch's `load_state_dict` rounds it to the type of its parameter.
    """
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    params = [param for group in groups for param in group["params"]]
    return {
        param: state_dict["state"][number][MEAN_SQUARE].to(param.device)
        for number, param in zip(numbers, params, strict=True)
        if MEAN_SQUARE in state_dict["state"].get(number, {})
    }
