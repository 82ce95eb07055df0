"""The ids under which the noise knows parameters, and groups that are refused for theirs."""

import pytest
import torch
from regression import new_model, train
from torch import Tensor, nn

from thermolion import ThermoLion


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
    [([1, 1, 2, 3], "has 1 twice"), ([1], "must be 4 whole"), ([0, 1, 2, -3], "must be 4 whole")],
)
def test_ids_of_parameters_that_cannot_key_their_noise_are_refused(
    ids: list[int], message: str
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
