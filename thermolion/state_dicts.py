"""Read state dicts into ThermoLion: of this class, an older version, the author's published class.

Writes none in their formats.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from thermolion import parameter_ids
from thermolion.step.exploration import explores, wide
from thermolion.step.state import GATE_SQUARE, MEAN_SQUARE

# The published class's names of what is ours.
_PUBLISHED = {"m": "exp_avg", "v": "exp_avg_sq"}
# Ours are derived from the step: T_t = decay^t.
_TEMPERATURES = ("temp", "temperature", "T")
# Relative, of a temperature: a product of hundreds of single-precision numbers is as far off.
_TOLERANCE = 1e-4
_MOMENTS = ("exp_avg", "exp_avg_sq")


def translate(state_dict: Mapping[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a state dict in our names, whose groups lack no option that `groups` have.

    The given one is left as it is; groups of another number or size are left to torch to refuse.
    Raises ValueError for a temperature that is not the group's `temp_decay` to the power of the
    step, for moments without a step, without each other or of another shape than the parameter,
    and for ids of the noise that are none.
    """
    saved = [dict(group) for group in state_dict["param_groups"]]
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
        return {**state_dict, "param_groups": saved}
    ids = parameter_ids.follow(saved, state_dict["state"], groups)
    for group, own, numbers in zip(saved, groups, ids, strict=True):
        if parameter_ids.is_by_name(saved):
            group.pop("param_names", None)  # in the order in which they were saved
        for name, value in own.items():
            if name not in ("params", "param_names"):
                group.setdefault(name, value)
        group["param_ids"] = numbers
    params = dict(_pairs(saved, groups))
    decays = {key: group["temp_decay"] for group in saved for key in group["params"]}
    state = {
        key: _translated(kept, params[key], decays[key]) if key in params else kept
        for key, kept in state_dict["state"].items()
    }
    return {**state_dict, "state": state, "param_groups": saved}


def _pairs(
    saved: list[dict[str, Any]], groups: list[dict[str, Any]]
) -> Iterator[tuple[Any, Tensor]]:
    """Yield the key of each parameter in the saved state, and the parameter."""
    for group, own in zip(saved, groups, strict=True):
        yield from zip(group["params"], own["params"], strict=True)


def _translated(kept: Mapping[str, Any], param: Tensor, decay: float) -> dict[str, Any]:
    state = {_PUBLISHED.get(name, name): value for name, value in kept.items()}
    if "exp_avg" in state and "step" not in state:
        raise ValueError(
            f"the state of a parameter has {', '.join(kept)} and no step, which the noise is "
            "looked up by: add how many steps it has taken"
        )
    _check_moments(state, param)
    if "step" in state and not isinstance(state["step"], Tensor):
        state["step"] = torch.tensor(float(state["step"]))
    for name in _TEMPERATURES:
        if name in state:
            _check_temperature(name, float(state.pop(name)), float(state["step"]), decay)
    return state


def _check_moments(state: Mapping[str, Any], param: Tensor) -> None:
    """Raise ValueError unless both moments are there, or none, and of the parameter's shape."""
    there = [name for name in _MOMENTS if name in state]
    if len(there) == 1:
        raise ValueError(
            f"the state of a parameter has {there[0]} alone, a step needs {' and '.join(_MOMENTS)}"
        )
    for name in (*there, GATE_SQUARE):
        moment = state.get(name)
        if isinstance(moment, Tensor) and moment.shape != param.shape:
            raise ValueError(
                f"{name} has the shape {tuple(moment.shape)} and its parameter "
                f"{tuple(param.shape)}: the parameters are not those, or not in the order, of the "
                "optimizer that was saved"
            )


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


def find_ids(groups: list[dict[str, Any]]) -> dict[Tensor, int]:
    """Return the id of the noise of each parameter."""
    return {
        param: number
        for group in groups
        for param, number in zip(group["params"], group["param_ids"], strict=True)
    }


def find_unrounded(
    state_dict: Mapping[str, Any], groups: list[dict[str, Any]]
) -> dict[Tensor, Tensor]:
    """Return mean(v) by parameter, on its device, in the type in which a step computes it.

    torch's `load_state_dict` rounds it to the type of its parameter.
    """
    state = state_dict["state"]
    return {
        param: state[key][MEAN_SQUARE].to(param.device, wide(param.dtype), copy=True)
        for key, param in _pairs(state_dict["param_groups"], groups)
        if MEAN_SQUARE in state.get(key, {})
    }
