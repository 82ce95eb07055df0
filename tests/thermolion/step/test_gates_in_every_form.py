"""A second moment for the gate alone, and updates that are returned: equal bits in every form."""

from typing import Any

import pytest
import torch
from imagined import attach_to_nobody
from torch import Tensor, nn

from thermolion import ThermoLion

FORMS: dict[str, dict[str, Any]] = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "foreach on lists": {"foreach": True, "capturable": True},
}
# A scalar, an empty one, some that share a chunk, more than one chunk, more than one dimension.
SHAPES = [(), (0,), (3,), (1025,), (70_000,), (16, 8, 3, 3), (40, 100)]


def trained(dtype: torch.dtype, gate: str, **options: Any) -> list[Tensor]:
    """Return weights and all moments after some steps of parameters in several layouts."""
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    values[5] = values[5].to(memory_format=torch.channels_last)
    values[6] = values[6][:, ::2]
    params = [nn.Parameter(value) for value in values]
    optimizer = ThermoLion(params, lr=1e-2, gate=gate, **options)  # type: ignore[arg-type]  # a word of the gate's
    attach_to_nobody(optimizer)
    for step in range(4):
        for index, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator).to(dtype) * 10.0**-index
            param.grad = None if (step, index) == (2, 3) else grad
        optimizer.step()
    names = ("exp_avg", "exp_avg_sq", "gate_avg_sq")
    states = [optimizer.state[param] for param in params]
    moments = [state[name] for state in states for name in names if name in state]
    return [param.detach() for param in params] + moments


@pytest.mark.parametrize("feed", ["gate", "all"])
@pytest.mark.parametrize("form", FORMS)
def test_a_small_last_batch_below_the_reference_leaves_nothing_that_is_no_number(
    form: str, feed: str
) -> None:
    # Elements that had no gradient to speak of before it have a moment below zero after it.
    param = nn.Parameter(torch.zeros(6))
    optimizer = ThermoLion(
        [param],
        gate="replicas",
        reference_batch=32,
        replicas_feed=feed,
        **FORMS[form],  # type: ignore[arg-type]  # a word of the feed
    )
    attach_to_nobody(optimizer, [(7.0, 7.0), (16.0, 16.0)])
    for number in range(6):
        param.grad = torch.tensor([1.0, 1.0, -1.0, 1e-3, -1.0, 0.0]) / 10**number
        optimizer.step()
        assert param.isfinite().all(), number


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_updates_that_are_handed_out_and_applied_give_the_bits_of_a_plain_step(
    form: str, dtype: torch.dtype, noise: bool
) -> None:
    actual = trained(dtype, "local", noise=noise, **FORMS[form])
    expected = trained(dtype, "averaged", noise=noise, **FORMS["for-loop"])
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"reference_batch": 4}, {"reference_batch": 64}, {"replicas_feed": "all"}],
    ids=str,
)
def test_a_moment_of_the_gates_own_gives_the_same_bits_by_every_form(
    options: dict[str, Any], dtype: torch.dtype
) -> None:
    expected = trained(dtype, "replicas", **options, **FORMS["for-loop"])
    plain = trained(dtype, "averaged", **FORMS["for-loop"])
    assert not torch.equal(expected[4], plain[4])  # the gate's own moment counts
    for form in ("foreach", "foreach on lists"):
        actual = trained(dtype, "replicas", **options, **FORMS[form])
        assert all(map(torch.equal, actual, expected)), form


@pytest.mark.parametrize("gate", ["averaged", "replicas", "local"])
def test_weights_whose_order_in_memory_changes_keep_their_steps_and_draws_in_every_form(
    gate: str,
) -> None:
    def train(**form: Any) -> list[Tensor]:
        generator = torch.Generator().manual_seed(6)
        param = nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator))
        optimizer = ThermoLion([param], gate=gate, lr=1e-2, **form)
        attach_to_nobody(optimizer)
        for step in range(4):
            if step == 2:
                param.data = param.data.to(memory_format=torch.channels_last)
            param.grad = torch.randn(param.shape, generator=generator)
            optimizer.step()
        return [param.detach(), *(optimizer.state[param][n] for n in ("exp_avg", "exp_avg_sq"))]

    expected = train(foreach=False)
    for form in (*FORMS.values(), {"fused": True}):
        for found, known in zip(train(**form), expected, strict=True):
            torch.testing.assert_close(found, known, rtol=0, atol=1e-6)
