"""Averages of the weights, at which a model is scored instead of at the trained ones.

Two kinds: the exponential average of a workload (`ema`), and that of an optimizer which averages
by itself (SWA). Trains nothing and scores nothing.
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

Batches = Callable[[], Iterator[Tensor]]


class Average:
    """The average of the weights of `model`, which `optimizer` trains, if there is one.

    That of the optimizer goes before that of the workload. Its statistics of normalisations are
    computed from training images, as by torch's `update_bn`. All ranks of a `group` call a method
    alike; statistics are those of rank 0, as in training.
    """

    def __init__(self, model: nn.Module, optimizer: Any, trial: Trial, group: RankGroup) -> None:
        self._model, self._trial, self._group = model, trial, group
        self._ema = _make_ema(model, trial.images.ema)
        self._swa = optimizer if isinstance(optimizer, SWA) else None
        self._swa_model: nn.Module | None = None
        self._averages = 0  # how many weights the model of SWA is the average of

    def model(self, batches: Batches) -> nn.Module:
        """Return the model to score; `batches` yields the images that statistics come from."""
        if self._swa is not None and self._swa.averages:
            return self._update_swa_model(self._swa, batches)
        return self._model if self._ema is None else self._ema.module

    def update(self) -> None:
        """Add the weights after a step to the average."""
        if self._ema is not None:
            self._ema.update_parameters(self._model)

    def state(self) -> Mapping[str, Any] | None:
        """Return what `restore` needs; the average of an optimizer is in the optimizer's state."""
        return None if self._ema is None else self._ema.state_dict()

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Continue from what `state` has returned; the optimizer has to be restored as well."""
        if self._ema is not None and state is not None:
            self._ema.load_state_dict(state)
        self._averages = 0

    def _update_swa_model(self, swa: SWA, batches: Batches) -> nn.Module:
        if self._swa_model is None:
            self._swa_model = copy.deepcopy(self._model)
        if self._averages != swa.averages:
            with torch.no_grad():
                pairs = zip(self._swa_model.parameters(), self._model.parameters(), strict=True)
                for average, trained in pairs:
                    average.copy_(swa.average(trained))
            if self._group.rank == 0:
                self._compute_statistics(self._swa_model, batches)
            self._averages = swa.averages
        return self._swa_model

    def _compute_statistics(self, model: nn.Module, batches: Batches) -> None:
        """Compute the statistics of normalisations, which depend on weights and trial alone."""
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), autocast(device.type, self._trial.precision):
            seed = self._trial.seeds["dropout"]
            torch.manual_seed(keyed_generator("cpu", seed, "statistics").initial_seed())
            update_bn(batches(), model)


def _make_ema(model: nn.Module, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    # The running statistics of normalisations are averaged like the weights.
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it so
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
