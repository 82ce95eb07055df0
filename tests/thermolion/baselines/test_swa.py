"""SWA against torch's SGD and AveragedModel: bits, epochs that count, and being scored at it."""

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from thermolion import SWA, registry


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    (model(inputs) - inputs[:, :2]).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=str)
def test_steps_and_average_are_those_of_torch_bit_for_bit(options: dict[str, float]) -> None:
    mine, theirs = _model(), _model()
    swa = SWA(mine.parameters(), lr=0.1, **options, steps=60, steps_per_epoch=5)
    sgd, average = SGD(theirs.parameters(), lr=0.1, **options), AveragedModel(theirs)
    for step in range(60):
        _step(mine, swa, step)
        _step(theirs, sgd, step)
        epoch, rest = divmod(step + 1, 5)
        if rest == 0 and epoch >= 8:  # the notebook's: from the eighth of twelve epochs on
            average.update_parameters(theirs)
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
        assert swa.averages == int(average.n_averaged)
    assert swa.averages == 5
    for one, other in zip(mine.parameters(), average.parameters(), strict=True):
        assert torch.equal(swa.average(one), other)
        assert not torch.equal(swa.average(one), one)


def test_within_its_context_the_model_is_at_the_average_and_then_as_it_was() -> None:
    model = _model()
    swa = SWA(model.parameters(), lr=0.1, average_from=0.0, steps=9, steps_per_epoch=3)
    before = [param.detach().clone() for param in model.parameters()]
    with swa.averaged():  # there is none yet
        assert all(map(torch.equal, model.parameters(), before))
    for step in range(9):
        _step(model, swa, step)
    weights = [param.detach().clone() for param in model.parameters()]

    def score() -> None:
        with swa.averaged():
            assert all(torch.equal(p, swa.average(p)) for p in model.parameters())
            assert not any(map(torch.equal, model.parameters(), weights))
            raise KeyError

    with pytest.raises(KeyError):
        score()
    assert all(map(torch.equal, model.parameters(), weights))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_loaded_average_in_a_half_type_is_over_as_many_weights(dtype: torch.dtype) -> None:
    count = {torch.bfloat16: 259, torch.float16: 2051}[dtype]  # the type has no such number
    param, twin = (nn.Parameter(torch.ones(1, dtype=dtype)) for _ in range(2))
    swa, loaded = (SWA([one], lr=0.1, average_from=0.0, steps=9999) for one in (param, twin))
    param.grad = twin.grad = torch.ones(1, dtype=dtype)
    swa.step()
    saved = swa.state_dict()
    saved["state"][0]["averaged"] = torch.tensor(float(count))
    loaded.load_state_dict(saved)
    assert float(loaded.state[twin]["averaged"]) == count
    loaded.step()
    assert float(loaded.state[twin]["averaged"]) == count + 1


def test_parameters_of_a_later_group_are_averaged_over_what_they_have_been() -> None:
    early, late = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    swa = SWA([early], lr=1.0, average_from=0.0, steps=3)
    for number in range(3):
        if number == 1:
            swa.add_param_group({"params": [late]})
        early.grad, late.grad = torch.full((1,), -1.0), torch.full((1,), -1.0)
        swa.step()
    assert swa.average(early).item() == 2.0  # of 1, 2, 3
    assert swa.average(late).item() == 1.5  # of 1, 2


def test_without_the_length_of_the_training_the_error_names_the_next_step() -> None:
    with pytest.raises(ValueError, match=r"swa is scored at averaged weights.*thermolion\.SWA\("):
        registry.build("swa", [nn.Parameter(torch.ones(1))], {}, seed=0)
    with pytest.raises(TypeError, match="steps is None, it must be a whole number, 1 or more"):
        SWA([nn.Parameter(torch.ones(1))])
