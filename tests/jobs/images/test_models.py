"""The networks: sizes counted by hand, values against the order of layers in the paper."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.contract.workloads.catalog import DataError
from jobs.images import models


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("channels", "size", "classes", "count"),
    [
        (1, 32, 10, (9 * 32 + 32) + (32 * 9 * 64 + 64) + (4096 * 256 + 256) + (256 * 10 + 10)),
        (3, 32, 10, 1_070_794),
        (3, 32, 43, 1_070_794 + 33 * 257),
        (1, 8, 10, 320 + 18_496 + (256 * 256 + 256) + 2570),
    ],
)
def test_the_convnet_has_the_parameters_counted_by_hand(
    channels: int, size: int, classes: int, count: int
) -> None:
    model = models.build("convnet", {}, channels, size, classes)
    assert _parameters(model) == count
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_convnet_equals_relu_before_pooling_to_the_bit(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = models.build("convnet", {}, 3, 32, 10).to(memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks this keyword
    first, second = (layer for layer in model.features if isinstance(layer, nn.Conv2d))
    images = torch.randn(8, 3, 32, 32).contiguous(memory_format=layout)

    def paper(images: Tensor) -> Tensor:
        for convolution in (first, second):
            images = functional.max_pool2d(functional.relu(convolution(images)), 2)
        return model.classifier(images)

    def gradients(logits: Tensor) -> tuple[Tensor, ...]:
        loss = functional.cross_entropy(logits, torch.arange(8))
        return torch.autograd.grad(loss, list(model.parameters()))

    assert torch.equal(model(images), paper(images))
    both = zip(gradients(model(images)), gradients(paper(images)), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in both)


def test_equal_seeds_give_equal_weights() -> None:
    for name in ("convnet", "mlp", "resnet18", "vit"):
        states = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            weights = models.build(name, {}, 1, 16, 10).parameters()
            states.append(torch.cat([weight.flatten() for weight in weights]))
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])


def test_the_mlp_has_the_widths_that_are_asked_for() -> None:
    model = models.build("mlp", {"hidden": [32, 16]}, 1, 8, 10)
    assert _parameters(model) == 65 * 32 + 33 * 16 + 17 * 10
    assert _parameters(models.build("mlp", {}, 1, 8, 10)) == 65 * 256 + 257 * 10
    with pytest.raises(DataError, match=r"hidden of mlp is \[0\]"):
        models.build("mlp", {"hidden": [0]}, 1, 8, 10)


def test_resnet18_keeps_the_resolution_of_small_images_in_its_stem() -> None:
    model = models.build("resnet18", {}, 3, 32, 100)
    by_hand = 11_689_512 - (64 * 3 * 49 - 64 * 3 * 9) - (1000 - 100) * 513  # from torchvision's
    assert _parameters(model) == by_hand
    stem = model.maxpool(model.conv1(torch.zeros(2, 3, 32, 32)))
    assert stem.shape == (2, 64, 32, 32)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_vit_has_the_parameters_counted_by_hand(channels: int) -> None:
    model = models.build("vit", {"layers": 2, "heads": 4, "width": 32}, channels, 16, 10)
    layer = 4 * 32 * 33 + (32 * 128 + 128) + (128 * 32 + 32) + 4 * 32  # attention, MLP, norms
    stem = channels * 16 * 32 + 32
    assert _parameters(model) == stem + 32 + 17 * 32 + 2 * layer + 2 * 32 + 33 * 10
    logits = model(torch.zeros(2, channels, 16, 16))
    assert logits.shape == (2, 10)


def test_the_vit_names_patches_and_heads_that_fit() -> None:
    models.build("vit", {}, 3, 32, 10)
    with pytest.raises(DataError, match="patches of 5x5 pixels, these are 32x32: choose a patch"):
        models.build("vit", {"patch": 5}, 3, 32, 10)
    with pytest.raises(DataError, match="5 heads do not share a width of 192"):
        models.build("vit", {"heads": 5}, 3, 32, 10)


@pytest.mark.parametrize("name", ["convnet", "mlp", "vit"])
def test_dropout_drops_in_training_alone(name: str) -> None:
    model = models.build(name, {"dropout": 0.5}, 1, 8, 10)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in model.modules()) >= 1
    if name == "vit":
        nn.init.ones_(model.heads.head.weight)  # it begins at zero
    images = torch.randn(4, 1, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", ["convnet", "mlp"])
def test_a_model_without_dropout_has_no_layer_for_it(name: str) -> None:
    model = models.build(name, {"dropout": 0.0}, 1, 8, 10)
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())


def test_models_of_torchvision_are_built_by_name() -> None:
    model = models.build("torchvision:squeezenet1_1", {"dropout": 0.1}, 3, 32, 7)
    assert type(model).__name__ == "SqueezeNet"
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "torchvision:resnet5",
            {},
            r"'resnet5' \(did you mean 'resnet50'\?\): choose from alexnet",
        ),
        ("torchvision:raft_large", {}, "unknown model of torchvision"),  # no classifier
        ("torchvision:resnet18", {"depth": 3}, "options {'depth': 3}: .*depth"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "cannot be built.*weights"),
        ("torchvision:googlenet", {"init_weights": False}, "option aux_logits: false"),
    ],
)
def test_a_model_that_torchvision_cannot_build_is_refused_before_a_start(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        models.check_torchvision(name, options)
    models.check_torchvision("torchvision:resnet18", {"zero_init_residual": True})


def test_models_of_torchvision_need_three_channels() -> None:
    with pytest.raises(DataError, match="needs images of 3 channels, these have 1: choose"):
        models.build("torchvision:resnet18", {}, 1, 32, 10)


@pytest.mark.parametrize(("name", "size"), [("convnet", 3), ("resnet18", 7)])
def test_an_image_too_small_for_the_model_is_refused(name: str, size: int) -> None:
    with pytest.raises(DataError, match=f"these are {size}x{size}"):
        models.build(name, {}, 1, size, 10)
    models.build(name, {}, 1, size + 1, 10)


def test_a_users_own_model_is_called_with_shape_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_models.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, channels, size, classes, depth):\n"
        "        super().__init__()\n"
        "        self.given = channels, size, classes, depth\n"
        "def number(**_):\n"
        "    return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert models.build("lab_models:Net", {"depth": 4}, 3, 32, 10).given == (3, 32, 10, 4)
    with pytest.raises(DataError, match="made a int, not a torch module"):
        models.build("lab_models:number", {}, 3, 32, 10)
