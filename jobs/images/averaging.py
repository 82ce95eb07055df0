"""The model that is scored in the place of the trained one: at an average of its weights.

Two kinds: the exponential one of a workload (`ema`), and that of an optimizer which averages by
itself (SWA). Trains nothing and scores nothing.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from jobs.contract.trial import Trial
from jobs.images.evaluate import autocast
from jobs.ranks.group import RankGroup
from thermolion.baselines.swa import SWA
from thermolion.step.noise import keyed_generator


class Average:
    """The average of `model`, which `optimizer` moves; the model itself where there is none.

    Once an optimizer has an average of its own, that counts. It gets statistics of normalisations
    of its own, as torch's `update_bn` makes them, from training images. All ranks of a `world`
    call a method alike; statistics are those of rank 0, as in training.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        trial: Trial,
        group: RankGroup,
    ) -> None:
        self._model, self._trial, self._group = model, trial, group
        self._ema = _built_ema(model, trial.images.ema)
        self._own = optimizer if isinstance(optimizer, SWA) else None
        self._twin: nn.Module | None = None
        self._made_of = 0  # how many weights the twin is the average of

    def model(self, batches: Callable[[], Iterator[Tensor]]) -> nn.Module:
        """Return the model to score; `batches` yields the images that statistics are made of."""
        if self._own is not None and self._own.averages:
            return self._at_own_average(self._own, batches)
        return self._model if self._ema is None else self._ema.module

    def update(self) -> None:
        """Take the weights after a step in."""
        if self._ema is not None:
            self._ema.update_parameters(self._model)

    def state(self) -> Mapping[str, Any] | None:
        """Return what `restore` needs; an optimizer's own average is in the optimizer's state."""
        return None if self._ema is None else self._ema.state_dict()

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on with what `state` has returned, the optimizer being restored as well."""
        if self._ema is not None and state is not None:
            self._ema.load_state_dict(state)
        self._made_of = 0

    def _at_own_average(self, own: SWA, batches: Callable[[], Iterator[Tensor]]) -> nn.Module:
        if self._twin is None:
            self._twin = copy.deepcopy(self._model)
        if self._made_of != own.averages:
            with torch.no_grad():
                pairs = zip(self._twin.parameters(), self._model.parameters(), strict=True)
                for mine, theirs in pairs:
                    mine.copy_(own.average(theirs))
            if self._group.rank == 0:
                self._gather_statistics(self._twin, batches)
            self._made_of = own.averages
        return self._twin

    def _gather_statistics(
        self, model: nn.Module, batches: Callable[[], Iterator[Tensor]]
    ) -> None:
        """Make the statistics of normalisations anew; they depend on weights and trial alone."""
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), autocast(device.type, self._trial.precision):
            seed = self._trial.seeds["dropout"]
            torch.manual_seed(keyed_generator("cpu", seed, "statistics").initial_seed())
            update_bn(batches(), model)


def _built_ema(model: nn.Module, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    # Running statistics of normalisations belong to the averaged weights, too.
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it so
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
