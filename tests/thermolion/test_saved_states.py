"""ThermoLion saved, copied, pickled, or loaded from another class: it goes on to the same bits."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from regression import FORMS, new_model, same, train

from thermolion import ThermoLion


@pytest.mark.parametrize("form", FORMS, ids=str)
@given(at=st.integers(1, 29), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
@settings(max_examples=6, deadline=None)
def test_a_training_that_is_saved_and_loaded_anywhere_goes_on_to_the_same_bits(
    form: dict[str, Any], at: int, dtype: torch.dtype
) -> None:
    straight = new_model(dtype)
    train(straight, ThermoLion(straight.parameters(), 0.02, seed=5, **form), 30)

    broken = new_model(dtype)
    optimizer = ThermoLion(broken.parameters(), 0.02, seed=5, **form)
    train(broken, optimizer, at)
    file = io.BytesIO()
    torch.save((broken.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = new_model(dtype)
    resumed.load_state_dict(weights)
    optimizer = ThermoLion(resumed.parameters(), **form)
    optimizer.load_state_dict(state)
    torch.manual_seed(99)
    train(resumed, optimizer, 30 - at)
    assert same(straight, resumed)


def test_a_state_of_one_form_is_gone_on_with_by_another() -> None:
    one, other = new_model(), new_model()
    loop, foreach = (
        ThermoLion(one.parameters(), foreach=False),
        ThermoLion(other.parameters(), foreach=True),
    )
    train(one, loop, 5)
    train(other, foreach, 5)
    state = copy.deepcopy(loop.state_dict())
    swapped = ThermoLion(one.parameters(), foreach=True)
    swapped.load_state_dict(state)
    train(one, swapped, 5)
    train(other, foreach, 5)
    assert same(one, other)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_pickled_and_a_deep_copied_optimizer_step_like_the_original(
    form: dict[str, Any],
) -> None:
    model = new_model()
    optimizer = ThermoLion(model.parameters(), 0.02, **form)
    train(model, optimizer, 3)
    copies = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    train(model, optimizer, 4)
    for twin, its in copies:
        train(twin, its, 4)
        assert same(twin, model)


def test_weights_that_are_moved_elsewhere_are_found_again() -> None:
    # The foreach form keeps views of the parameters: they must not outlive the memory.
    one, other = new_model(), new_model()
    optimizer, reference = ThermoLion(one.parameters()), ThermoLion(other.parameters())
    for _ in range(3):
        train(one, optimizer, 2)
        train(other, reference, 2)
        for param in one.parameters():
            param.data = param.data.clone()
            optimizer.state[param]["exp_avg"] = optimizer.state[param]["exp_avg"].clone()
    assert same(one, other)


def test_an_old_state_without_the_mean_square_goes_on() -> None:
    model = new_model()
    optimizer = ThermoLion(model.parameters())
    train(model, optimizer, 3)
    state = optimizer.state_dict()
    for kept in state["state"].values():
        del kept["exp_avg_sq_mean"]
    for name in ("gate", "foreach", "fused", "capturable", "maximize"):
        del state["param_groups"][0][name]
    twin = copy.deepcopy(model)
    resumed = ThermoLion(twin.parameters())
    resumed.load_state_dict(copy.deepcopy(state))
    train(twin, resumed, 3)
    train(model, optimizer, 3)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
