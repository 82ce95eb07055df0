"""What the suites of torch, timm and pytorch_optimizer ask of an optimizer's step, asked of ours.

By behaviour, for every optimizer of the registry. Left out: devices other than the CPU, and
`differentiable`, which none of ours has.
"""

import copy
from typing import Any

import pytest
import torch
from every_optimizer import NAMES, OURS, build, parameter_of, rate_of, take_steps
from regression import closure_of, new_model, same, train
from torch import nn
from torch.optim import lr_scheduler

every = pytest.mark.parametrize("name", NAMES)
of_ours = pytest.mark.parametrize("name", OURS)
# Its criterion looks at all elements of all parameters together.
but_swats = pytest.mark.parametrize("name", [name for name in NAMES if name != "swats"])


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_loss_falls_in_every_type(name: str, dtype: torch.dtype) -> None:
    model = new_model(dtype)
    # Below the smallest half-precision number, an ε of 1e-8 is none.
    options = {} if name in ("sgd", "swa", "lion", "thermolion") else {"eps": 1e-4}
    optimizer = build(name, model.parameters(), **options)
    closure = closure_of(model, optimizer)
    first = closure().item()
    for _ in range(40):
        optimizer.step(closure)
    assert closure().item() < first / 2


@every
@pytest.mark.parametrize("schedule", ["steps", "plateau", "one cycle"])
def test_the_loss_falls_with_a_schedule_in_every_group(name: str, schedule: str) -> None:
    model = new_model()
    weights = [param for param in model.parameters() if param.dim() > 1]
    biases = [param for param in model.parameters() if param.dim() == 1]
    groups = [{"params": weights}, {"params": biases, "lr": rate_of(name) / 2}]
    optimizer = build(name, groups)
    scheduler: Any = {
        "steps": lambda: lr_scheduler.StepLR(optimizer, 10, gamma=0.9),
        "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, patience=3),
        "one cycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, rate_of(name), total_steps=50, cycle_momentum=False
        ),
    }[schedule]()
    closure = closure_of(model, optimizer)
    first = closure().item()
    for _ in range(40):
        loss = optimizer.step(closure)
        scheduler.step(*([loss.item()] if schedule == "plateau" else []))
    assert closure().item() < first / 2


@every
def test_a_valley_with_a_bend_is_walked_down(name: str) -> None:
    point = nn.Parameter(torch.tensor([1.5, 1.5], dtype=torch.float64))
    optimizer = build(name, [point], lr=5e-4 if name in ("sgd", "swa") else 5e-3)
    losses = []
    scale = 1e-3 if name == "thermolion" else 1.0  # with gradients of hundreds, its noise is all
    for _ in range(100):
        optimizer.zero_grad()
        loss = scale * ((1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@every
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("param_shape", [(), (1,), (3, 2)])
def test_a_rate_in_a_tensor_of_one_element_is_the_number(
    name: str, shape: tuple[int, ...], param_shape: tuple[int, ...]
) -> None:
    one, other = (parameter_of(torch.float64, param_shape) for _ in range(2))
    take_steps(build(name, [one], lr=0.125, weight_decay=0.5), [one], 6)
    rate = torch.full(shape, 0.125, dtype=torch.float64)
    take_steps(build(name, [other], lr=rate, weight_decay=0.5), [other], 6)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@every
def test_groups_have_rates_and_decays_of_their_own(name: str) -> None:
    still, decaying, alone = (parameter_of() for _ in range(3))
    groups = [{"params": [still], "lr": 0.0}, {"params": [decaying], "weight_decay": 0.5}]
    take_steps(build(name, groups, weight_decay=0.0), [still, decaying])
    take_steps(build(name, [alone], weight_decay=0.0), [alone])
    assert torch.equal(still, parameter_of())
    assert not torch.equal(decaying, alone)


@every
def test_gradients_of_zero_move_nothing(name: str) -> None:
    param = parameter_of()
    optimizer = build(name, [param], weight_decay=0)
    for _ in range(3):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    assert torch.equal(param, parameter_of())


@every
def test_missing_gradients_and_empty_and_0_dim_parameters_are_no_trouble(name: str) -> None:
    missing, empty = parameter_of(), nn.Parameter(torch.empty(0, 3))
    single, alone = parameter_of(shape=()), parameter_of(shape=())
    optimizer = build(name, [single, missing, empty])
    optimizer.step()
    assert not any(param in optimizer.state for param in (missing, empty, single))
    take_steps(optimizer, [single])
    empty.grad = torch.empty(0, 3)
    optimizer.step()
    assert torch.equal(missing, parameter_of())
    assert single.isfinite()
    take_steps(build(name, [alone]), [alone])
    take_steps(build(name, [alone]), [])
    assert single.shape == ()


@every
def test_memory_in_any_order_and_gradients_in_another_give_the_same_step(name: str) -> None:
    # The places of the noise are those in memory.
    options = {"noise": False} if name == "thermolion" else {}
    values = torch.linspace(-1, 1, 24).view(2, 3, 2, 2)
    plain = nn.Parameter(values.clone())
    last = nn.Parameter(values.clone().contiguous(memory_format=torch.channels_last))
    sliced = nn.Parameter(torch.zeros(2, 3, 2, 4)[..., ::2].copy_(values))
    for param in (plain, last, sliced):
        optimizer = build(name, [param], **options)
        for step in range(1, 4):
            param.grad = (values * step).cos().clone().contiguous()
            optimizer.step()
    torch.testing.assert_close(last.detach(), plain.detach(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(sliced.detach(), plain.detach(), rtol=1e-6, atol=1e-7)


@but_swats
def test_parameters_of_several_types_are_trained_side_by_side(name: str) -> None:
    types = [torch.float32, torch.float64, torch.bfloat16]
    together = [parameter_of(dtype) for dtype in types]
    apart = [parameter_of(dtype) for dtype in types]
    options = {"noise": False} if name == "thermolion" else {}
    optimizer = build(name, together, **options)
    others = [build(name, [param], **options) for param in apart]
    for _ in range(3):
        for param in together + apart:
            param.grad = torch.full_like(param, 0.5)
        for one in (optimizer, *others):
            one.step()
    assert all(map(torch.equal, together, apart))


@every
def test_a_closure_is_called_with_gradients_on_and_its_loss_returned(name: str) -> None:
    model = new_model()
    optimizer = build(name, model.parameters())
    closure = closure_of(model, optimizer)
    first = closure()
    assert torch.equal(optimizer.step(closure), first)
    assert optimizer.step() is None
    assert torch.is_grad_enabled()


@every
def test_infinity_that_a_gradient_scaler_finds_moves_nothing(name: str) -> None:
    model = new_model()
    optimizer = build(name, model.parameters())
    train(model, optimizer, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for param in model.parameters():
        param.grad = torch.full_like(param, torch.inf)
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 512
    assert str(before) == str((model.state_dict(), optimizer.state_dict()))


@every
def test_scaled_gradients_train_like_plain_ones(name: str) -> None:
    model = new_model()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plain = copy.deepcopy(model)
    scaled, unscaled = build(name, model.parameters()), build(name, plain.parameters())
    closure = closure_of(model, scaled)
    for _ in range(5):
        closure()
        for param in model.parameters():
            assert param.grad is not None
            param.grad *= scaler.scale(torch.ones(()))
        scaler.step(scaled)
        scaler.update()
    train(plain, unscaled, 5)
    assert same(model, plain)


@but_swats
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_no_number_spoils_its_own_element_for_good(
    name: str, bad: float
) -> None:
    param = parameter_of()
    optimizer = build(name, [param])
    for step in range(3):
        param.grad = torch.full_like(param, 0.5)
        if step == 1:
            param.grad[2] = bad
        optimizer.step()
    spoilt = param.detach().isfinite().logical_not()
    assert spoilt.tolist() == [False, False, bad is torch.nan or bool(spoilt[2]), False, False]
    if bad is torch.nan:
        assert param.detach().isnan().tolist() == [False, False, True, False, False]


def _complex() -> nn.Parameter:
    param = parameter_of(torch.complex64)
    param.grad = torch.full_like(param, 1 + 1j)
    return param


def _sparse() -> nn.Parameter:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    return table.weight


def _whole() -> nn.Parameter:
    param = nn.Parameter(torch.arange(3), requires_grad=False)
    param.grad = torch.ones_like(param)
    return param


@of_ours
@pytest.mark.parametrize("make", [_complex, _sparse, _whole])
def test_other_gradients_are_refused_before_anything_has_changed(name: str, make: Any) -> None:
    param = make()
    before = param.detach().clone()
    optimizer = build(name, [param])
    with pytest.raises(RuntimeError, match=r"takes dense floating-point gradients.*use another"):
        optimizer.step()
    assert torch.equal(param.detach(), before)
    assert not optimizer.state


@of_ours
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch's compiler imports
def test_a_compiled_step_is_the_step(name: str) -> None:
    one, other = new_model(), new_model()
    torch._dynamo.reset()
    optimizer, reference = build(name, one.parameters()), build(name, other.parameters())
    step = torch.compile(optimizer.step, backend="eager")
    closure = closure_of(one, optimizer)
    for _ in range(3):
        closure()
        step()
    train(other, reference, 3)
    assert same(one, other)


@every
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda _: [], ValueError, "empty parameter list"),
        (lambda param: param, TypeError, "iterable of Tensors or dicts"),
        (lambda param: [{"params": {param}}], TypeError, "ordered collections"),
        (lambda param: [param * 2], ValueError, "non-leaf"),
        (lambda _: [1], TypeError, "only optimize Tensors"),
        (lambda param: [{"params": [param]}, {"params": [param]}], ValueError, "more than one"),
        (lambda param: [("weight", param), param.detach()], ValueError, "with/without names"),
    ],
)
def test_what_are_no_parameters_is_refused_as_torch_does(
    name: str, make: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build(name, make(parameter_of()))


@every
def test_a_rate_below_zero_or_of_several_elements_is_refused(name: str) -> None:
    for rate in (-1.0, torch.tensor([0.1, 0.2])):
        with pytest.raises(ValueError, match=r"lr|learning rate"):
            build(name, [parameter_of()], lr=rate)


@every
def test_it_is_printed_with_its_options(name: str) -> None:
    words = repr(build(name, [parameter_of()], lr=0.0625))
    assert words.startswith(type(build(name, [parameter_of()])).__name__)
    assert "lr: 0.0625" in words
