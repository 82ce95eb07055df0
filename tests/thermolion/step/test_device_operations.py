"""What the forms for a GPU ask of it, without one: operations, transfers, and who waits."""

from functools import cache
from typing import Any

import pytest
import torch
from device_record import StandInKernels, record
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jobs.images import models
from thermolion import ThermoLion
from thermolion.step import transfer
from thermolion.step.exploration import Amp
from thermolion.step.state import read_hyper

VIT_S = {"patch": 4, "layers": 12, "heads": 6, "width": 384, "dropout": 0.0}
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "convnet": ("convnet", {}, 1),
    "resnet18": ("resnet18", {}, 3),
    "vit_s": ("vit", VIT_S, 3),
}


@cache
def _shapes(name: str) -> list[tuple[int, ...]]:
    kind, options, channels = NETWORKS[name]
    with torch.device("meta"):
        return [
            tuple(param.shape)
            for param in models.build(kind, options, channels, 32, 10).parameters()
        ]


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize(("network", "most"), [("convnet", 96), ("resnet18", 96), ("vit_s", 137)])
def test_a_step_on_lists_takes_few_operations_and_waits_for_nothing(
    network: str, most: int, capturable: bool
) -> None:
    first, later = record(
        _shapes(network), lambda p: ThermoLion(p, foreach=True, capturable=capturable)
    )
    assert sum(later.operations.values()) <= most
    assert first.waits == later.waits == []
    assert later.transfers <= (0 if capturable else 1)


def test_gradients_that_alternate_and_several_types_wait_for_nothing() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        first, later = record([(40, 30), (7,), ()], lambda p: ThermoLion(p, foreach=True), dtype)
        assert first.waits == later.waits == []


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> StandInKernels:
    return StandInKernels(monkeypatch)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_fused_step_is_three_launches_and_without_noise_two(
    network: str, noise: bool, kernels: StandInKernels
) -> None:
    _, later = record(_shapes(network), lambda p: ThermoLion(p, fused=True, noise=noise))
    names = ["square_rows", "count_steps", "step_rows"] if noise else ["count_steps", "step_rows"]
    assert kernels.launched[-len(names) :] == names
    assert len(kernels.launched) == 3 * len(names)
    assert not later.operations  # the table of addresses is kept: nothing has moved


@pytest.mark.usefixtures("kernels")
def test_a_fused_step_sends_addresses_only_if_one_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Tensor] = []

    def to_device(values: Tensor, device: torch.device) -> Tensor:
        sent.append(values)
        return values.to(device, non_blocking=True)

    monkeypatch.setattr(transfer, "to_device", to_device)
    places = [1, 1, 2, 2]
    monkeypatch.setattr(Tensor, "data_ptr", lambda _: places[0])
    param = nn.Parameter(torch.empty(3000, device="meta"))
    optimizer = ThermoLion([param], fused=True)
    counts = []
    while places:
        param.grad = torch.empty_like(param)
        optimizer.step()
        counts.append(len(sent))
        places.pop(0)
    assert counts == [1, 1, 2, 2]
    assert torch.equal(sent[1], torch.full((7, 1), 2))


def test_what_a_gradient_scaler_leaves_is_moved_to_the_device_of_the_parameters(
    kernels: StandInKernels,
) -> None:
    # As for the parameters of a second GPU: the scaler's tensors lie on the first.
    param = nn.Parameter(torch.empty(3000, device="meta"))
    optimizer: Any = ThermoLion([param], fused=True)
    param.grad = torch.empty_like(param)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor([0.0])
    optimizer.step()
    assert len(kernels.tensors) == 3
    for given in kernels.tensors:
        assert {one.device.type for one in given} == {"meta"}


class _Cuda(TorchFunctionMode):
    """Has a host's tensors sent to a GPU that is not there, and notes how."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.pin_memory:
            self.calls.append("pinned")
            return args[0]
        if func is Tensor.to and args[1] == torch.device("cuda"):
            self.calls.append(kwargs)
            return args[0]
        return func(*args, **(kwargs or {}))


def test_what_is_sent_to_a_gpu_is_pinned_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with _Cuda() as cuda:
        transfer.to_device(torch.arange(3), torch.device("cuda"))
    assert cuda.calls == ["pinned", {"non_blocking": True}]


class _Back(_Cuda):
    """Notes how tensors of another device come to the CPU, and has them be there."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.to and args[0].device.type == "meta":
            self.calls.append(kwargs)
            return torch.ones(())
        return func(*args, **(kwargs or {}))


def test_what_a_cpu_is_to_read_is_waited_for() -> None:
    here, there = torch.device("cpu"), torch.empty((), device="meta")
    group = ThermoLion([nn.Parameter(torch.ones(2))]).param_groups[0]
    with _Back() as back:
        Amp(there, there).on(here)
        read_hyper({**group, "lr": there}, here)
    assert back.calls == [{"non_blocking": False}] * 3


def _captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, all that is asked of a device is captured in a CUDA graph."""
    monkeypatch.setattr(transfer, "CAPTURED", {"cpu", "cuda", "meta"})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("form", [{"foreach": True}, {"fused": True}], ids=str)
def test_a_step_that_is_captured_must_be_capturable_and_not_the_first(
    form: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = [nn.Parameter(torch.empty(3000, device="meta")) for _ in range(3)]
    for param in params:
        param.grad = torch.empty_like(param)
    plain = ThermoLion(params[:1], **form)
    plain.step()
    cold, warm, host_rate = (
        ThermoLion(params[1:], lr, capturable=True, **form)
        for lr in (1e-3, 1e-3, torch.tensor(1e-3))
    )
    warm.step()
    host_rate.step()
    _captured(monkeypatch)
    warm.step()
    with pytest.raises(RuntimeError, match=r"capturable is false.*set capturable=True"):
        plain.step()
    with pytest.raises(RuntimeError, match=r"take a step of all parameters.*before the capture"):
        cold.step()
    with pytest.raises(RuntimeError, match=r"lr is a tensor on the CPU.*make it one on meta"):
        host_rate.step()


@pytest.mark.usefixtures("kernels")
def test_weights_that_are_laid_out_anew_before_a_capture_are_refused_and_their_state_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    param = nn.Parameter(torch.empty((4, 3, 2, 2), device="meta"))
    optimizer = ThermoLion([param], capturable=True, fused=True)
    param.grad = torch.empty_like(param)
    optimizer.step()
    before = dict(optimizer.state[param])
    param.data = param.data.to(memory_format=torch.channels_last)
    _captured(monkeypatch)
    with pytest.raises(RuntimeError, match=r"take a step of all parameters.*before the capture"):
        optimizer.step()
    assert all(optimizer.state[param][name] is kept for name, kept in before.items())


def test_a_capture_sends_addresses_of_its_own_from_memory_that_is_kept() -> None:
    table = transfer.AddressTable(torch.device("cpu"))
    one, other = torch.zeros(4), torch.ones(4)
    before = table.find([[one]])
    assert before.tolist() == [[one.data_ptr()]]
    with pytest.MonkeyPatch.context() as patch:
        _captured(patch)
        assert table.find([[one]]) is before
        with pytest.raises(RuntimeError, match="before the capture"):
            table.find([[other]])
        table._spares = [torch.empty(1, 1, dtype=torch.int64)]  # as pinned ones are, on a GPU
        captured = table.find([[other]])
    assert captured.tolist() == [[other.data_ptr()]]
    assert table.find([[other]]).tolist() == captured.tolist()
    assert table.find([[other]]) is not captured  # its values come only with a replay
    assert before.tolist() == [[one.data_ptr()]]
