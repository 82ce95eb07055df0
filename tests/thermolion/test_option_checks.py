"""Options that are none, given to every optimizer of ours: each refused with name and choices."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from thermolion import SWA, Lion, ThermoLion, registry, verify_replicas
from thermolion.baselines.lookahead import Lookahead
from thermolion.baselines.muadam import MuAdam
from thermolion.baselines.swats import SWATS, SWATSNotebook

NUMBER, PAIR = "a finite number, 0 or more", "two numbers in [0, 1)"
RATE: list[tuple[Any, type[Exception], str]] = [
    ("0.1", TypeError, NUMBER),
    (None, TypeError, NUMBER),
    (True, TypeError, NUMBER),
    ([0.1], TypeError, NUMBER),
    (-1.0, ValueError, NUMBER),
    (math.nan, ValueError, NUMBER),
    (math.inf, ValueError, NUMBER),
]
BETAS: list[tuple[Any, type[Exception], str]] = [
    (0.9, TypeError, PAIR),
    ("ab", TypeError, PAIR),
    (("0.9", 0.99), TypeError, PAIR),
    ((0.9,), ValueError, PAIR),
    ((0.9, 0.99, 0.999), ValueError, PAIR),
    ((0.9, 1.0), ValueError, PAIR),
    ((math.nan, 0.9), ValueError, PAIR),
]
COUNT: list[tuple[Any, type[Exception], str]] = [
    (2.0, TypeError, "a whole number, 1 or more"),
    (True, TypeError, "a whole number, 1 or more"),
    (0, ValueError, "a whole number, 1 or more"),
]
FLAG: list[tuple[Any, type[Exception], str]] = [
    ("yes", TypeError, "True or False"),
    (1, TypeError, "True or False"),
]
FORM: list[tuple[Any, type[Exception], str]] = [("yes", TypeError, "True, False, or None")]


def _share(words: str, *out: float) -> list[tuple[Any, type[Exception], str]]:
    return [("0.5", TypeError, words), *((value, ValueError, words) for value in out)]


OPTIONS: dict[str, list[tuple[Any, type[Exception], str]]] = {
    **dict.fromkeys(("lr", "weight_decay", "eps", "alignment", "solid_gain", "threshold"), RATE),
    "betas": BETAS,
    "temp_decay": _share("a number in (0, 1]", 0.0, 1.5, math.nan),
    "slow_step": _share("a number in (0, 1]", 0.0, 1.5),
    "momentum": _share("a number in [0, 1)", 1.0, -0.1),
    "average_from": _share("a number in [0, 1)", 1.0, -0.1),
    **dict.fromkeys(("noise", "capturable", "maximize"), FLAG),
    **dict.fromkeys(("foreach", "fused"), FORM),
    "seed": [(1.5, TypeError, "a whole number"), ("1", TypeError, "a whole number")],
    "gate": [("mean", ValueError, "one of averaged, replicas, local"), (3, ValueError, "one of")],
    "replicas_feed": [(None, ValueError, "one of gate, all")],
    "reference_batch": [(0, ValueError, "a whole number of samples"), ("8", ValueError, "whole")],
    **dict.fromkeys(("slow_every", "switch_after", "steps", "steps_per_epoch"), COUNT),
}
ONE_FOR_ALL_GROUPS = ("gate", "replicas_feed", "reference_batch")
KINDS: dict[Any, tuple[str, ...]] = {
    ThermoLion: (
        *("lr", "betas", "temp_decay", "weight_decay", "eps", "alignment", "solid_gain", "noise"),
        *("seed", "gate", "reference_batch", "replicas_feed", "foreach", "fused", "capturable"),
        "maximize",
    ),
    Lion: ("lr", "betas", "weight_decay"),
    MuAdam: ("lr", "betas", "eps", "weight_decay"),
    Lookahead: ("lr", "betas", "eps", "weight_decay", "slow_every", "slow_step"),
    SWATS: ("lr", "betas", "eps", "weight_decay", "threshold"),
    SWATSNotebook: ("lr", "betas", "eps", "weight_decay", "switch_after"),
    SWA: ("lr", "momentum", "weight_decay", "average_from", "steps", "steps_per_epoch"),
}
CASES = [
    (kind, name, value, error, words)
    for kind, names in KINDS.items()
    for name in names
    for value, error, words in OPTIONS[name]
]


def _made(kind: Any, params: Any = None, **options: Any) -> Any:
    params = [nn.Parameter(torch.ones(2))] if params is None else params
    return kind(params, **({"steps": 10} if kind is SWA else {}) | options)


@pytest.mark.parametrize(
    ("kind", "name", "value", "error", "words"),
    CASES,
    ids=[f"{kind.__name__} {name} {value!r}" for kind, name, value, *_ in CASES],
)
def test_an_option_that_is_none_is_refused_with_name_value_and_choices(
    kind: Any, name: str, value: object, error: type[Exception], words: str
) -> None:
    param = nn.Parameter(torch.ones(2))
    ways = [lambda: _made(kind, **{name: value})]
    optimizer = _made(kind)
    if name not in ONE_FOR_ALL_GROUPS:
        ways += [
            lambda: _made(kind, [{"params": [param], name: value}]),
            lambda: optimizer.add_param_group({"params": [param], name: value}),
        ]
    for way in ways:
        with pytest.raises(error, match=f"^{name} is ") as caught:
            way()
        assert type(caught.value) is error
        assert repr(value) in str(caught.value)
        assert words in str(caught.value)
    assert len(optimizer.param_groups) == 1


def test_every_option_of_every_optimizer_of_ours_is_looked_at() -> None:
    for name, spec in registry.OPTIMIZERS.items():
        kind = registry.load(name)
        if kind in KINDS:
            assert set(spec.settable) <= set(KINDS[kind]), name
        else:
            assert spec.path.startswith("torch"), name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ThermoLion])
def test_a_rate_may_be_a_tensor_of_one_element_and_of_no_more(kind: Any) -> None:
    _made(kind, lr=torch.tensor(0.1))
    with pytest.raises(ValueError, match=r"lr is a tensor of shape \(2,\)"):
        _made(kind, lr=torch.ones(2))


def test_what_is_no_group_is_refused_as_torch_does() -> None:
    for kind in KINDS:
        with pytest.raises(TypeError, match="param_group must be a dict"):
            _made(kind).add_param_group([nn.Parameter(torch.ones(2))])


def test_replicas_without_a_process_group_are_told_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match=r"no process group.*init_process_group first"):
        verify_replicas([("weight", torch.ones(2))])
