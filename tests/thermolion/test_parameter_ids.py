"""The ids under which the noise knows parameters, and groups that are refused for theirs."""

import numpy as np
import pytest
import torch
from regression import new_model, train
from torch import Tensor, nn

from thermolion import ThermoLion, parameter_ids


def test_names_of_parameters_are_kept_and_key_their_noise() -> None:
    def trained(order: list[str]) -> dict[str, Tensor]:
        model = new_model()
        named = dict(model.named_parameters())
        train(model, ThermoLion([(name, named[name]) for name in order]), 3)
        return {name: param.detach() for name, param in named.items()}

    names = list(dict(new_model().named_parameters()))
    forth, back = trained(names), trained(names[::-1])
    assert all(torch.equal(forth[name], back[name]) for name in names)
    optimizer = ThermoLion(new_model().named_parameters())
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 1, 2, 3], "has 1 twice.*a number of its own"),
        ([1], "as many as parameters: 4"),
        ([0, 1, 2, -3], "whole numbers from 0"),
        (7, "as many as parameters: 4"),
    ],
)
def test_ids_of_parameters_that_cannot_key_their_noise_are_refused(
    ids: list[int] | int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ThermoLion([{"params": list(new_model().parameters()), "param_ids": ids}])


def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was() -> None:
    optimizer = ThermoLion(new_model().parameters())
    for wrong in ({"betas": (1.0, 0.9)}, {"param_ids": [0]}, {"foreach": True, "fused": True}):
        with pytest.raises(ValueError, match=r"betas|param_ids|fused"):
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **wrong})
        assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert optimizer.param_groups[1]["param_ids"] == [4]


def _within_backward(params: list[nn.Parameter], optimizers: list[ThermoLion]) -> None:
    """Step each parameter as soon as its gradient is there, as to save the memory of gradients."""
    for param, optimizer in zip(params, optimizers, strict=True):

        def step(_: Tensor, optimizer: ThermoLion = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        param.register_post_accumulate_grad_hook(step)
    torch.stack([param.square().sum() for param in params]).sum().backward()


def test_one_optimizer_for_each_parameter_needs_names_or_numbers_and_has_its_own_noise() -> None:
    def params() -> list[nn.Parameter]:
        return [nn.Parameter(torch.ones(50)) for _ in range(3)]

    together = params()
    whole = ThermoLion(together)
    torch.stack([param.square().sum() for param in together]).sum().backward()
    whole.step()
    numbered = params()
    _within_backward(numbered, [ThermoLion([p], param_ids=[i]) for i, p in enumerate(numbered)])
    assert all(map(torch.equal, numbered, together))
    named = params()
    _within_backward(named, [ThermoLion([(f"p{i}", p)]) for i, p in enumerate(named)])
    assert not torch.equal(named[0], named[1])
    quiet = params()
    _within_backward(quiet, [ThermoLion([p], noise=False) for p in quiet])
    alike = params()
    with pytest.raises(RuntimeError, match=r"no name.*within the backward.*param_ids=\[number\]"):
        _within_backward(alike, [ThermoLion([p]) for p in alike])
    assert torch.equal(alike[0], torch.ones(50))


def test_ids_are_given_for_a_list_of_parameters_and_in_each_of_its_groups() -> None:
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    assert ThermoLion(iter(params), param_ids=[8, 3]).param_groups[0]["param_ids"] == [8, 3]
    with pytest.raises(ValueError, match="give each group those of its parameters"):
        ThermoLion([{"params": params}], param_ids=[8, 3])
    with pytest.raises(ValueError, match="as many as parameters: 2"):
        ThermoLion(params, param_ids=[8])
    ids = ThermoLion(params, param_ids=np.array([8, 3])).param_groups[0]["param_ids"]  # type: ignore[arg-type]  # an array will do
    assert [*map(type, ids)] == [int, int]


def test_names_that_are_there_twice_or_no_text_are_refused_and_leave_no_group() -> None:
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = ThermoLion([("weight", params[0])])
    with pytest.raises(ValueError, match=r"two parameters are called 'weight'.*names that differ"):
        optimizer.add_param_group({"params": [("weight", params[1])]})
    with pytest.raises(TypeError, match=r"names of parameters are \[1\], they must be text"):
        optimizer.add_param_group({"params": [(1, params[1])]})
    assert len(optimizer.param_groups) == 1


def test_parameters_that_were_put_in_the_place_of_others_are_refused() -> None:
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = ThermoLion(params)
    flat = nn.Parameter(torch.ones(4))
    flat.grad = torch.ones(4)
    optimizer.param_groups[0]["params"] = [flat]
    with pytest.raises(RuntimeError, match="1 parameters and 2 numbers of their noise"):
        optimizer.step()
    assert torch.equal(flat, torch.ones(4))


@pytest.mark.parametrize("unscaled", [False, True])
def test_gradients_that_still_have_the_scale_of_a_scaler_are_noticed(unscaled: bool) -> None:
    model = new_model()
    optimizer = ThermoLion(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    scaler.scale(model(torch.ones(2, 8)).square().mean()).backward()
    if unscaled:
        scaler.unscale_(optimizer)
        optimizer.step()
    else:
        with pytest.warns(UserWarning, match=r"scale of a GradScaler, 65536.*scaler\.step"):
            optimizer.step()


def _in_turn(*optimizers: ThermoLion) -> None:
    for _ in range(2):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for param in group["params"]:
                    param.grad = torch.ones_like(param)
            optimizer.step()


def test_two_optimizers_of_one_training_are_told_that_they_draw_the_same_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def param(count: int) -> nn.Parameter:
        return nn.Parameter(torch.ones(count))

    monkeypatch.setattr(parameter_ids, "turns", parameter_ids.Turns())
    _in_turn(ThermoLion([param(3)]), ThermoLion([param(3)]))  # twins
    _in_turn(ThermoLion([("weight", param(3))]), ThermoLion([("bias", param(4))]))
    _in_turn(ThermoLion([param(3)]), ThermoLion([param(4)], seed=1))
    _in_turn(ThermoLion([param(3)]), ThermoLion([param(4)], param_ids=[1]))
    for count in (3, 4):  # one after the other
        _in_turn(ThermoLion([param(count)]))
    with pytest.warns(UserWarning, match="the same noise for parameters that differ"):
        _in_turn(ThermoLion([param(3)]), ThermoLion([param(4)]))
    _in_turn(ThermoLion([param(3)]), ThermoLion([param(4)]))  # once is enough
