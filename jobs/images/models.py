"""Models: the paper's ConvNet, an MLP, ResNet-18 and a ViT for small images, and torchvision's.

Weights come from torch's global CPU generator, which the caller seeds; nothing here trains.
A user's own model is a callable named by dotted path, such as `my_lab.models:Net`, called with
`channels`, `size`, `classes` and its options by keyword; it returns a module that maps float32
images (b, channels, size, size) to logits (b, classes).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jobs.contract.workloads import catalog
from jobs.contract.workloads.catalog import DataError
from jobs.images import torchvision_import


class ConvNet(nn.Module):
    """The paper's network (arXiv 2512.01881v2): two 3x3 convolutions, two linear layers.

    The paper has ReLU before the pooling, which gives the same bits, values and gradients alike:
    a maximum commutes with ReLU. Behind it, ReLU runs on a quarter of the values.
    """

    def __init__(self, channels: int, size: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (size // 4) ** 2, 256),
            nn.ReLU(),
            *_dropout(dropout),
            nn.Linear(256, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map `images` (b, channels, size, size) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def mlp(
    channels: int, size: int, classes: int, hidden: Sequence[int], dropout: float = 0.0
) -> nn.Module:
    """Build linear layers of the widths `hidden`, each with ReLU, and one to the classes."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = channels * size**2
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU(), *_dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def _dropout(rate: float) -> list[nn.Module]:
    """Return no layer for a rate of 0, so that the names of weights are those without dropout."""
    return [nn.Dropout(rate)] if rate else []


def resnet18(channels: int, size: int, classes: int) -> nn.Module:  # noqa: ARG001  # one signature for all builders
    """Build torchvision's ResNet-18 with the stem for 32x32: a 3x3 convolution, no pooling."""
    model: nn.Module = torchvision_import.models.resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def vit(
    channels: int,
    size: int,
    classes: int,
    patch: int,
    layers: int,
    heads: int,
    width: int,
    dropout: float,
) -> nn.Module:
    """Build torchvision's Vision Transformer, a small one: an MLP is four times the width.

    Raises DataError if patches do not fill the image, or heads do not divide the width.
    """
    if size % patch:
        raise DataError(
            f"model 'vit' cuts images into patches of {patch}x{patch} pixels, these are "
            f"{size}x{size}: choose a patch that divides {size}"
        )
    if width % heads:
        raise DataError(
            f"model 'vit': {heads} heads do not share a width of {width}: choose a width that is "
            f"a multiple of {heads}"
        )
    model: nn.Module = torchvision_import.models.VisionTransformer(
        image_size=size,
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        dropout=dropout,
        num_classes=classes,
    )
    if channels != 3:
        stem = nn.Conv2d(channels, width, patch, stride=patch)
        nn.init.trunc_normal_(stem.weight, std=(channels * patch**2) ** -0.5)  # as torchvision's
        nn.init.zeros_(stem.bias)  # type: ignore[arg-type]  # it has one
        model.conv_proj = stem
    return model


_BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    "mlp": mlp,
    "resnet18": resnet18,
    "vit": vit,
}


def check_torchvision(name: str, options: Mapping[str, Any]) -> None:
    """Raise DataError unless `torchvision:NAME` is a classifier that takes `options`.

    Builds it on the meta device; imports torchvision, which takes seconds.
    """
    with torch.device("meta"):
        _build_torchvision(name, options, classes=10)


def _build_torchvision(name: str, options: Mapping[str, Any], classes: int) -> nn.Module:
    kind = name.removeprefix(catalog.TORCHVISION)
    names = torchvision_import.models.list_models(module=torchvision_import.models)
    catalog.check_known(kind, names, "model of torchvision")
    try:
        model: nn.Module = torchvision_import.models.get_model(
            kind, weights=None, num_classes=classes, **options
        )
    except (TypeError, ValueError) as error:
        raise DataError(
            f"model {name!r} cannot be built with the options {dict(options)}: {error}"
        ) from error
    if getattr(model, "aux_logits", False):
        raise DataError(
            f"model {name!r} has auxiliary outputs, and one output is trained: give it the option "
            "aux_logits: false"
        )
    return model


def build(
    name: str, options: Mapping[str, Any], channels: int, size: int, classes: int
) -> nn.Module:
    """Build the model `name` for images of `size` pixels.

    Raises DataError for an unknown name or option, and for images that the model cannot take.
    """
    shape = {"channels": channels, "size": size, "classes": classes}
    if catalog.is_dotted(name):
        model = catalog.resolve(name)(**shape, **options)
        if not isinstance(model, nn.Module):
            raise DataError(f"model {name!r} made a {type(model).__name__}, not a torch module")
        return model
    if name.startswith(catalog.TORCHVISION):
        if channels != 3:
            raise DataError(
                f"model {name!r} needs images of 3 channels, these have {channels}: choose "
                f"another model, such as {', '.join(catalog.MODELS)}"
            )
        return _build_torchvision(name, options, classes)
    arguments = catalog.model_options(name, options)
    spec = catalog.MODELS[name]
    if size < spec.min_size:
        raise DataError(
            f"model {name!r} needs images of at least {spec.min_size}x{spec.min_size} pixels, "
            f"these are {size}x{size}: choose another model, such as mlp"
        )
    return _BUILDERS[name](**shape, **arguments)
