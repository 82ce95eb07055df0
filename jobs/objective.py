"""What a step of image classification makes small: the mean loss of a model on some samples.

Knows nothing of other ranks: `jobs.replica` does.
"""

from torch import Tensor, nn
from torch.nn import functional

from jobs.evaluate import network_input
from jobs.precision import autocast, widened


class Objective(nn.Module):
    """The cross-entropy of a model on augmented images; a rank may have none of them."""

    def __init__(self, model: nn.Module, precision: str, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self._precision, self._label_smoothing = precision, label_smoothing

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over `images`, uint8 (b, C, S, S); of none of them a zero.

        Its gradient is zero, too, and no layer has seen a batch without a sample.
        """
        if not len(labels):
            return sum(
                (0 * p.sum() for p in self.model.parameters()), labels.new_zeros(()).float()
            )
        with autocast(labels.device.type, self._precision):
            logits = self.model(network_input(images))
        return functional.cross_entropy(
            widened(logits), labels, label_smoothing=self._label_smoothing
        )
