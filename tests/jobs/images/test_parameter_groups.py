"""Parameter groups: what is spared the weight decay."""

from typing import Any

import torch
from torch import nn

from jobs.images import models, trainer
from thermolion import ThermoLion


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(4, 1)
        self.last = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def _names(no_decay: tuple[str, ...], optimizer: Any = torch.optim.AdamW) -> list[list[str]]:
    model = _Net()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    made = optimizer(trainer.parameters(model, no_decay, optimizer), lr=1e-3)
    return [[names[id(p)] for p in group["params"]] for group in made.param_groups]


def test_named_biases_and_normalisations_get_no_weight_decay() -> None:
    decayed, spared = _names(("bias",))
    assert decayed == [
        *("stem.weight", "norm.weight", "attention.in_proj_weight"),
        *("attention.out_proj.weight", "last.weight", "head.weight"),
    ]
    assert spared == [
        *("stem.bias", "norm.bias", "attention.in_proj_bias", "attention.out_proj.bias"),
        *("last.bias", "head.bias"),
    ]
    _, spared = _names(("norm",))
    assert spared == ["norm.weight", "norm.bias", "last.weight", "last.bias"]
    decayed, _ = _names(("bias", "norm"))
    assert decayed == [
        *("stem.weight", "attention.in_proj_weight"),
        *("attention.out_proj.weight", "head.weight"),
    ]


def test_parameters_without_decay_do_not_shrink_and_the_others_do() -> None:
    model = models.build("convnet", {}, 1, 8, 10)
    nn.init.ones_(model.classifier[1].bias)
    before = [parameter.clone() for parameter in model.parameters()]
    made = trainer.parameters(model, ("bias",), torch.optim.SGD)
    optimizer = torch.optim.SGD(made, lr=0.5, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for old, (name, new) in zip(before, model.named_parameters(), strict=True):
        assert torch.equal(new, old if name.endswith("bias") else old * 0.75)


def test_without_a_weight_decay_the_parameters_stay_one_group_in_their_order() -> None:
    class Plain(torch.optim.SGD):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr)

    names = [[name for name, _ in _Net().named_parameters()]]
    assert _names(("bias", "norm"), Plain) == names
    assert _names(()) == names


def test_an_optimizer_that_takes_any_keyword_is_given_groups() -> None:
    class Wrapped(torch.optim.AdamW):
        def __init__(self, params: Any, **options: Any) -> None:
            super().__init__(params, **options)

    assert len(_names(("bias",), Wrapped)) == 2


def test_a_model_without_named_parameters_has_one_group() -> None:
    model = nn.Linear(2, 2, bias=False)
    (group,) = trainer.parameters(model, ("bias", "norm"), torch.optim.AdamW)
    assert group["params"] == [model.weight]


def test_our_optimizer_takes_the_decay_of_a_group() -> None:
    model = _Net()
    optimizer = ThermoLion(trainer.parameters(model, ("norm",), ThermoLion), weight_decay=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
