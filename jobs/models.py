"""Models: the paper's ConvNet, an MLP and ResNet-18 for small images.

Weights come from torch's global CPU generator, which the caller seeds; nothing here trains.
A user's own model is a callable named by dotted path, such as `my_lab.models:Net`, called with
`channels`, `size`, `classes` and its options by keyword; it returns a module that maps float32
images (b, channels, size, size) to logits (b, classes).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from jobs import catalog
from jobs.catalog import DataError


class ConvNet(nn.Module):
    """The paper's network (arXiv 2512.01881v2): two 3x3 convolutions, two linear layers.

    The paper has ReLU before the pooling, which gives the same bits, values and gradients alike:
    a maximum commutes with ReLU. Behind it, ReLU runs on a quarter of the values.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
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
            nn.Linear(256, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map `images` (b, channels, size, size) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def mlp(channels: int, size: int, classes: int, hidden: Sequence[int]) -> nn.Module:
    """Build linear layers of the widths `hidden`, each with ReLU, and one to the classes."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = channels * size**2
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def resnet18(channels: int, size: int, classes: int) -> nn.Module:  # noqa: ARG001  # one signature for all builders
    """Build torchvision's ResNet-18 with the stem for 32x32: a 3x3 convolution, no pooling."""
    from jobs import vision  # imports torchvision, seconds that the other models need not spend

    model: nn.Module = vision.models.resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def build(
    name: str, options: Mapping[str, Any], channels: int, size: int, classes: int
) -> nn.Module:
    """Build the model `name` for images of `size` pixels.

    Raises DataError for an unknown name or option, and for images too small for the model.
    """
    shape = {"channels": channels, "size": size, "classes": classes}
    if catalog.is_dotted(name):
        model = catalog.resolve(name)(**shape, **options)
        if not isinstance(model, nn.Module):
            raise DataError(f"model {name!r} made a {type(model).__name__}, not a torch module")
        return model
    catalog.known(name, catalog.MODELS, "model")
    spec = catalog.MODELS[name]
    if size < spec.min_size:
        raise DataError(
            f"model {name!r} needs images of at least {spec.min_size}x{spec.min_size} pixels, "
            f"these are {size}x{size}: choose another model, such as mlp"
        )
    made: nn.Module = catalog.resolve(spec.builder)(**shape, **catalog.filled(spec, name, options))
    return made
