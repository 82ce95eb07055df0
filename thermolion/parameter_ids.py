"""The numbers by which the noise tells parameters apart: chosen, and found again in a state dict.

A saved state has the number of each parameter beside its moments, because torch moves those by
name and lists in a group by place.
"""

import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from thermolion.step import noise, sharding
from thermolion.step.state import PARAM_ID

_END = 2**63


def choose_param_ids(group: Mapping[str, Any], taken: set[int]) -> list[int]:
    """Return the ids of the parameters of a new group.

    These are the `param_ids` of the group, if it has any; else a digest of each name; else the
    next numbers. `taken` are the ids of the other groups.

    Raises ValueError for ids that are not whole numbers, too many or too few, or not unique;
    TypeError for names that are no text.
    """
    count = len(group["params"])
    given, names = group.get("param_ids"), group.get("param_names", ())
    if given is not None:
        numbers = given if isinstance(given, Iterable) else [given]
        ids, names = [int(one) if _is_id(one) else one for one in numbers], ()
    elif names:
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"the names of parameters are {names!r}, they must be text")
        ids = list(map(noise.digest, names))
    else:
        free = _free_numbers(taken, len(taken))
        ids = [next(free) for _ in range(count)]
    if not all(map(_is_id, ids)) or len(ids) != count:
        raise ValueError(
            f"param_ids is {ids!r}, it must be whole numbers from 0 to 2**63-1, as many as "
            f"parameters: {count}"
        )
    _check_unique(ids, taken, names)
    return ids


def is_chosen(group: Mapping[str, Any]) -> bool:
    """Return True if whoever made a group says by what to tell its parameters apart."""
    return group.get("param_ids") is not None or "param_names" in group


def follow(
    saved: list[dict[str, Any]], state: Mapping[Any, Any], groups: list[dict[str, Any]]
) -> list[list[int]]:
    """Return the ids of the parameters of `groups` once `saved` ones with a `state` are loaded.

    That of a parameter lies in its state. If it has none there, it is taken from the saved list
    by its place, or by its name if torch has matched parameters by name, so that the list may be
    in another order or of other groups; else a parameter keeps its own, if that is free.

    Raises ValueError for an id that is no whole number, and for two parameters with one id.
    """
    ids: list[list[int | None]] = [
        [_read(state.get(key, {}).get(PARAM_ID)) for key in group["params"]] for group in saved
    ]
    wrong = [one for each in ids for one in each if one is not None and not _is_id(one)]
    if wrong:
        raise ValueError(f"{PARAM_ID} is {wrong[0]!r}, it must be a whole number below 2**63")
    by_name = is_by_name(saved)
    named = _saved_names(saved) if by_name else {}
    for number, (group, own) in enumerate(zip(saved, groups, strict=True)):
        listed = [named.get(name) for name in own.get("param_names", ())]
        if not by_name and group.get("param_ids") is not None:
            listed = list(group["param_ids"])
        if len(listed) == len(ids[number]):
            ids[number] = [
                mine if one is None else one for one, mine in zip(ids[number], listed, strict=True)
            ]
    taken = {one for each in ids for one in each if one is not None}
    free = _free_numbers(taken, 0)
    for number, own in enumerate(groups):
        for place, mine in enumerate(own["param_ids"]):
            if ids[number][place] is None:
                chosen = mine if mine not in taken else next(free)
                ids[number][place] = chosen
                taken.add(chosen)
    known = [[one for one in each if one is not None] for each in ids]
    _check_unique([one for each in known for one in each], set())
    return known


def is_by_name(saved: list[dict[str, Any]]) -> bool:
    """Return True for groups of a state dict that torch has matched by the names in the model.

    Lists in them are in the order in which they were saved, unlike the parameters.
    """
    return any(isinstance(key, str) for group in saved for key in group["params"])


def note_ids(states: list[dict[str, Any]], group: Mapping[str, Any], places: list[int]) -> None:
    """Give the states of the parameters at `places` in a group their ids; none without noise."""
    for state, place in zip(states, places, strict=True):
        if not group["noise"]:
            state.pop(PARAM_ID, None)
        elif PARAM_ID not in state:
            state[PARAM_ID] = torch.tensor(group["param_ids"][place])


def check_places(groups: list[dict[str, Any]]) -> None:
    """Raise RuntimeError for a noisy group whose parameters are no longer those of its ids.

    Others may be in their place, or FullyShardedDataParallel has flattened them since.
    """
    for group in groups:
        if group["noise"] and sharding.has_flattened(group["params"]):
            raise RuntimeError(sharding.FLATTENED)
        count, ids = len(group["params"]), len(group["param_ids"])
        if count != ids and group["noise"]:
            raise RuntimeError(
                f"a parameter group has {count} parameters and {ids} numbers of their noise: "
                "others were put in their place (one flat tensor for many, as some libraries that "
                "shard do). Build ThermoLion of those, or set noise=False"
            )


def check_alone(groups: list[dict[str, Any]]) -> None:
    """Raise RuntimeError if this is a step of one parameter of many that nobody has numbered.

    Whoever gives each parameter an optimizer of its own steps it within the backward pass; by
    their own counts, all of these parameters would be the first.
    """
    if torch._C._current_graph_task_id() == -1 or not any(group["noise"] for group in groups):
        return
    if sum(len(group["params"]) for group in groups) == 1:
        raise RuntimeError(
            "an optimizer of one parameter, which has no name, is stepped within the backward "
            "pass: its noise would be that of every other such parameter. Say which one it is, "
            "ThermoLion([(name, parameter)]) or ThermoLion([parameter], param_ids=[number]), or "
            "set noise=False"
        )


class Turns:
    """Notice two optimizers of one training whose parameters have the same numbers.

    They step in turn, and that their parameters differ in shape tells them from twins, which are
    to have the same noise. Optimizers that are trained one after the other do not meet.
    """

    def __init__(self) -> None:
        self._last: weakref.ref[Optimizer] | None = None
        # Of each that has stepped, those before it with which it has been compared.
        self._compared: weakref.WeakKeyDictionary[Optimizer, weakref.WeakSet[Optimizer]] = (
            weakref.WeakKeyDictionary()
        )
        self._has_warned = False

    def take(self, optimizer: Optimizer) -> None:
        """Note a step; warn, once in a process, if it comes after one of such another."""
        before = None if self._last is None else self._last()
        if before is optimizer:
            return
        self._last = weakref.ref(optimizer)
        compared = self._compared.get(optimizer)
        if compared is None:
            self._compared[optimizer] = weakref.WeakSet()
            return
        if before is None or self._has_warned or before in compared:
            return
        compared.add(before)
        if not _overlap(before, optimizer):
            return
        self._has_warned = True
        warnings.warn(
            "two optimizers step in turn, and draw the same noise for parameters that differ: "
            "each counts its own from 0. Give parameters with their names, "
            "ThermoLion(model.named_parameters()), or with numbers, ThermoLion(params, "
            "param_ids=…), or give one of the optimizers another seed",
            stacklevel=2,
        )


def _overlap(one: Optimizer, other: Optimizer) -> bool:
    """Return True if parameters of unlike shapes have one seed and number."""
    shapes = _shapes(one)
    return any(shapes.get(key, shape) != shape for key, shape in _shapes(other).items())


def _shapes(optimizer: Optimizer) -> dict[tuple[int, int], torch.Size]:
    return {
        (group["seed"], number): param.shape
        for group in optimizer.param_groups
        if group["noise"]
        for number, param in zip(group["param_ids"], group["params"], strict=True)
    }


turns = Turns()


def _saved_names(saved: list[dict[str, Any]]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for group in saved:
        names, numbers = group.get("param_names") or [], group.get("param_ids") or []
        if len(names) == len(numbers):
            ids.update(zip(names, numbers, strict=True))
    return ids


def _free_numbers(taken: set[int], first: int) -> Iterator[int]:
    return (number for number in range(first, _END) if number not in taken)


def _read(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _is_id(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return 0 <= int(value) < _END


def _check_unique(ids: list[int], taken: set[int], names: Sequence[str] = ()) -> None:
    seen = set(taken)
    for place, number in enumerate(ids):
        if number in seen and names:
            raise ValueError(
                f"two parameters are called {names[place]!r}, and would share their noise: give "
                f"them names that differ, such as 'encoder.{names[place]}', or param_ids"
            )
        if number in seen:
            raise ValueError(
                f"param_ids has {number} twice, and two parameters would share their noise: give "
                "each parameter a number of its own"
            )
        seen.add(number)
