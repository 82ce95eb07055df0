"""What the candidates of a block share: split, order of the data, initial weights.

Nothing here looks at the candidate, or pairing dies.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jobs import models
from jobs.data import Dataset
from jobs.splits import Split, split
from jobs.trial import Trial
from thermolion.noise import keyed_generator


class Block:
    """The block of a trial on a decoded data set; indices refer to the training part."""

    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        workload = trial.images
        self._seeds = trial.seeds
        self._workload = workload
        self._dataset = dataset
        self.split: Split = split(
            dataset, workload.split, workload.train_images, trial.seeds["split"]
        )

    def order(self, epoch: int) -> Tensor:
        """Return the order of an epoch: indices into the training part, (n_train,) int64."""
        chosen = self.split.train
        generator = keyed_generator("cpu", self._seeds["order"], epoch)
        return chosen[torch.randperm(len(chosen), generator=generator)]

    def initial_model(self) -> nn.Module:
        """Build the model on the CPU, so that every device starts from the same weights."""
        dataset = self._dataset
        torch.manual_seed(self._seeds["init"])
        workload = self._workload
        return models.build(
            workload.model, workload.model_options, dataset.channels, dataset.size, dataset.classes
        )

    def digests(self, model: nn.Module) -> dict[str, str]:
        """Return what proves pairing; equal for all candidates. `model` still as it began."""
        parts = [self.split.train]
        if self.split.validation is not None:
            parts.append(self.split.validation)
        return {
            "data": self._dataset.digest,
            "split": tensor_digest(parts),
            "order": tensor_digest([self.order(0)]),
            "init": tensor_digest(model.state_dict().values()),
        }


def tensor_digest(tensors: Iterable[Tensor]) -> str:
    """Return 16 hex digits of sha256 over the bytes of tensors, in the order given."""
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()[:16]
