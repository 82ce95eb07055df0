"""Gates that refer to other ranks, in a single process: attached, refused, saved and copied."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from thermolion import ThermoLion
from thermolion.ddp.attach import attach

STEPS = 12


def trained(*, attached: bool = True, global_batch: int | None = 8, **options: Any) -> nn.Module:
    model, optimizer = started(**options)
    if attached:
        attach(optimizer, model, global_batch=global_batch)
    run(model, optimizer)
    return model


def started(**options: Any) -> tuple[nn.Module, ThermoLion]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    return model, ThermoLion(model.parameters(), lr=1e-2, **options)


def run(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        images = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        model(images).square().mean().backward()
        optimizer.step()


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_in_one_process_the_local_gate_is_the_averaged_one_to_the_bit() -> None:
    assert difference(trained(gate="local"), trained()) == 0


@pytest.mark.parametrize(
    "options", [{}, {"reference_batch": 8}, {"replicas_feed": "all"}], ids=str
)
def test_in_one_process_the_batch_is_the_only_reference_there_is(options: dict[str, Any]) -> None:
    assert difference(trained(gate="replicas", **options), trained()) < 1e-6
    with pytest.raises(ValueError, match="takes two ranks or more"):
        trained(gate="replicas", reference_batch=4)
    with pytest.raises(ValueError, match="attach"):
        trained(gate="replicas", reference_batch=8, global_batch=None)


@pytest.mark.parametrize("gate", ["replicas", "local"])
def test_a_gate_that_is_not_attached_takes_no_step(gate: str) -> None:
    model, optimizer = started(gate=gate)
    before = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match=r"call thermolion\.attach"):
        run(model, optimizer)
    assert difference(model, before) == 0
    attach(optimizer, model)
    run(model, optimizer)
    _, twin = copy.deepcopy((model, optimizer))
    with pytest.raises(RuntimeError, match="nothing is attached"):
        twin.step()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        *(({"global_batch": n}, "global_batch is .* 1 or more") for n in (0, -8, 1.5, True, "8")),
        *(({"verify_every": n}, "verify_every is .* 0 or more") for n in (-1, 1.5, True)),
    ],
    ids=str,
)
def test_counts_that_are_none_are_refused(setting: dict[str, Any], words: str) -> None:
    model, optimizer = started(gate="replicas")
    with pytest.raises(ValueError, match=words):
        attach(optimizer, model, **setting)
    with pytest.raises(RuntimeError, match="nothing is attached"):
        optimizer.step()


def test_nothing_is_hung_on_a_model_for_an_optimizer_without_such_a_gate() -> None:
    model, averaged = started()
    for optimizer in (averaged, torch.optim.AdamW(model.parameters())):
        attachment = attach(optimizer, model, global_batch=8, verify_every=2)
        attachment.shares([8])
        run(model, optimizer)
        attachment.verify()
        assert not attachment.own_state
    assert difference(trained(attached=False), trained()) == 0


def test_the_state_of_a_gate_resumes_to_the_bit_and_starts_from_v_if_there_is_none() -> None:
    straight = trained(gate="replicas")
    model, optimizer = started(gate="replicas")
    attach(optimizer, model)
    run(model, optimizer, steps=5)
    resumed = ThermoLion(model.parameters(), lr=1.0, gate="replicas")
    attach(resumed, model)
    resumed.load_state_dict(optimizer.state_dict())
    for step in range(5, STEPS):
        resumed.zero_grad()
        images = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        model(images).square().mean().backward()
        resumed.step()
    assert difference(model, straight) == 0

    model, averaged = started()
    run(model, averaged, steps=5)
    other = ThermoLion(model.parameters(), gate="replicas")
    attach(other, model)
    other.load_state_dict(averaged.state_dict())
    assert {group["gate"] for group in other.param_groups} == {"replicas"}
    run(model, other, steps=1)
    for state in other.state.values():
        torch.testing.assert_close(state["gate_avg_sq"], state["exp_avg_sq"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "mine"}, "gate is 'mine', it must be one of averaged, replicas, local"),
        ({"gate": "replicas", "reference_batch": 0}, "reference_batch is 0"),
        ({"gate": "replicas", "reference_batch": True}, "reference_batch is True"),
        ({"gate": "replicas", "replicas_feed": "some"}, "replicas_feed is 'some'"),
        ({"reference_batch": 8}, "gate: replicas only"),
        ({"gate": "local", "replicas_feed": "all"}, "gate: replicas only"),
        ({"gate": "replicas", "replicas_feed": "all", "betas": (0.9, 0.0)}, "nothing to feed"),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        started(**options)


def test_a_gate_is_one_for_all_groups() -> None:
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": params[:1]}, {"params": params[1:], "gate": "local"}]
    with pytest.raises(ValueError, match="one for all groups"):
        ThermoLion(groups)


@pytest.mark.parametrize("samples", [[8, 8], [0], [-8]], ids=str)
def test_shares_are_one_whole_number_for_each_rank(samples: list[int]) -> None:
    model, optimizer = started(gate="replicas")
    attachment = attach(optimizer, model)
    with pytest.raises(ValueError, match="must be 1 whole number"):
        attachment.shares(samples)


def test_a_square_that_a_half_type_cannot_hold_is_made_in_single_precision() -> None:
    params = []
    for gate in ("averaged", "replicas"):
        param = nn.Parameter(torch.zeros(4, dtype=torch.float16))
        optimizer = ThermoLion([param], lr=0.1, gate=gate)  # type: ignore[arg-type]  # a word of the gate's
        attach(optimizer, nn.ParameterList([param]))
        param.grad = torch.full_like(param, 300)  # its square is beyond 65504, a hundredth is not
        optimizer.step()
        params.append(param.detach())
    torch.testing.assert_close(*params, rtol=2e-3, atol=0)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_the_gate_works_on_parameters_of_half_precision_and_on_scalars(kind: torch.dtype) -> None:
    for feed in ("gate", "all"):
        params = [nn.Parameter(torch.ones(shape, dtype=kind)) for shape in ((), (3, 2))]
        optimizer = ThermoLion(params, gate="replicas", replicas_feed=feed, lr=0.1)
        attach(optimizer, nn.ParameterList(params))
        for param in params:
            param.grad = torch.full_like(param, 0.5)
        optimizer.step()
        assert all(bool((param < 1).all()) for param in params)
