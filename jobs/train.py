"""The state of a trial of image classification between two steps. Logs nothing, saves no file."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jobs import groups
from jobs.augment import Augmentation
from jobs.block import Block
from jobs.data import Dataset
from jobs.evaluate import Score, evaluate, network_input
from jobs.launch import Launch
from jobs.precision import autocast, make_scaler, widened
from jobs.schedule import factor
from jobs.splits import chance
from jobs.trial import Trial
from thermolion import registry


class Training:
    """The state of a trial between two steps; `dataset` lies on the device of `launch`.

    What is not in `state` follows from the trial and the step, but for the global random
    generators, which are the caller's to save: dropout draws from them.
    """

    def __init__(self, trial: Trial, dataset: Dataset, launch: Launch) -> None:
        workload = trial.workload
        self._trial = trial
        self._dataset = dataset
        self._device = torch.device(launch.device)
        self._block = Block(trial, dataset)
        model = self._block.initial_model()
        self.digests = self._block.digests(model)
        self.model = model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own overloads
        torch.manual_seed(trial.seeds["dropout"])
        images = len(self._block.split.train)
        self.steps_per_epoch = math.ceil(images / workload.global_batch)
        self.steps = self.steps_per_epoch * workload.epochs
        self.step = 0
        self.samples = 0
        self.train_seconds = 0.0
        self.optimizer = self._built_optimizer()
        self._scheduler = self._built_scheduler()
        self._scaler = make_scaler(self._device.type, trial.precision)
        self._ema = self._built_ema()
        self._augmentation = Augmentation(
            workload.augment, trial.seeds["augment"], len(dataset.train)
        )
        # The steps that are left of the epoch: the indices of each, in micro-batches.
        self._steps_left: deque[tuple[Tensor, ...]] = deque()
        self._images: Iterator[Tensor] = iter(())
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._loss_samples = 0
        held_out = self._block.split.validation
        self._prefix = "train" if held_out is None else "val"
        self._scored = dataset.train.subset(
            self._block.split.train if held_out is None else held_out
        )

    def _built_optimizer(self) -> Any:
        candidate = self._trial.candidate
        kind = registry.load(candidate.optimizer)
        return registry.build(
            candidate.optimizer,
            groups.parameters(self.model, self._trial.workload.no_decay, kind),
            candidate.hyperparameters,
            self._trial.seeds["noise"],
        )

    def _built_scheduler(self) -> LambdaLR | None:
        schedule, steps = self._trial.workload.schedule, self.steps
        if not schedule:
            return None
        return LambdaLR(self.optimizer, lambda step: factor(schedule, step / steps))

    def _built_ema(self) -> AveragedModel | None:
        decay = self._trial.workload.ema
        if decay is None:
            return None
        # Running statistics of normalisations belong to the averaged weights, too.
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it so
        return AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is scored: the average of the weights, where one is declared."""
        return self.model if self._ema is None else self._ema.module

    def describe(self) -> dict[str, Any]:
        """Return what a `started` event says, JSON-ready."""
        split = self._block.split
        return {
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "images": {
                "train": len(split.train),
                "validation": 0 if split.validation is None else len(split.validation),
                "test": len(self._dataset.test),
            },
            "chance": {
                f"{self._prefix}_accuracy": chance(self._scored.labels),
                "test_accuracy": chance(self._dataset.test.labels),
            },
            "digests": self.digests,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
        }

    def advance(self, until: int, pause: Callable[[], bool]) -> None:
        """Take steps up to `until`, or to the one at which `pause` says yes; the clock runs.

        `pause` is asked before every step.
        """
        if self.step == until:
            return
        begin = time.perf_counter()
        while self.step < until and not pause():
            self._take_step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.train_seconds += time.perf_counter() - begin

    def measure(self) -> dict[str, float]:
        """Score the curve's metrics; the training loss is the mean since the last call."""
        score = self._score(self._scored)
        loss_name = "val_loss" if self._prefix == "val" else "train_set_loss"
        metrics = {f"{self._prefix}_accuracy": score.accuracy, loss_name: score.loss}
        if self._loss_samples:
            metrics["train_loss"] = float(self._loss) / self._loss_samples
            self._loss.zero_()
            self._loss_samples = 0
        return metrics

    def test(self) -> Score:
        """Score the official test part; called once, at the end."""
        return self._score(self._dataset.test)

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs, plain types and tensors alone.

        The tensors are the living ones: write them down before the next step.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "train_seconds": self.train_seconds,
            "loss": self._loss,
            "loss_samples": self._loss_samples,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a training of the same trial was when it returned `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        self.step, self.samples = state["step"], state["samples"]
        self.train_seconds = state["train_seconds"]
        self._loss.copy_(state["loss"])
        self._loss_samples = state["loss_samples"]
        self._steps_left.clear()
        self._images = iter(())

    def _score(self, part: Any) -> Score:
        return evaluate(
            self.evaluated_model,
            part,
            self._trial.precision,
            self._trial.workload.loader_workers,
        )

    def _begin_epoch(self) -> None:
        """Line up what is left of the epoch that the next step belongs to."""
        workload = self._trial.workload
        epoch, position = divmod(self.step, self.steps_per_epoch)
        order = self._block.order(epoch).to(self._device)
        micro_batch = math.ceil(workload.global_batch / workload.accumulate)
        self._steps_left.extend(
            torch.split(chosen, micro_batch)
            for chosen in torch.split(order, workload.global_batch)[position:]
        )
        chunks = list(chain.from_iterable(self._steps_left))
        self._images = self._dataset.train.batches(chunks, workload.loader_workers)

    def _take_step(self) -> None:
        if not self._steps_left:
            self._begin_epoch()
        chunks = self._steps_left.popleft()
        count = sum(map(len, chunks))
        self.optimizer.zero_grad()
        for chosen in chunks:
            self._add_gradient(chosen, count)
        self._update()
        self.samples += count
        self.step += 1
        if not self._steps_left:
            self._images = iter(())  # ends the processes that have read this epoch

    def _add_gradient(self, chosen: Tensor, count: int) -> None:
        """Add what the samples `chosen` give to the mean gradient of a step of `count` samples."""
        workload, precision = self._trial.workload, self._trial.precision
        epoch = self.step // self.steps_per_epoch
        images = self._augmentation.apply(next(self._images), chosen, epoch)
        with autocast(self._device.type, precision):
            logits = self.model(network_input(images))
        labels = self._dataset.train.labels[chosen]
        loss = functional.cross_entropy(
            widened(logits), labels, label_smoothing=workload.label_smoothing
        )
        share = loss if len(chosen) == count else loss * (len(chosen) / count)
        scaled = share if self._scaler is None else self._scaler.scale(share)
        scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._loss += loss.detach() * len(chosen)
        self._loss_samples += len(chosen)

    def _update(self) -> None:
        """Change the weights by the gradients that lie with them."""
        clip_norm = self._trial.workload.clip_norm
        if clip_norm is not None:
            if self._scaler is not None:
                self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        if self._scheduler is not None:
            self._set_rate(self._scheduler)
        if self._ema is not None:
            self._ema.update_parameters(self.model)

    def _set_rate(self, scheduler: LambdaLR) -> None:
        """Set the learning rate of the next step, whether or not the scaler has skipped this."""
        if self.step > 0 or self._scaler is None:
            scheduler.step()
            return
        with warnings.catch_warnings():
            # A first step that is skipped looks to torch as if the calls were in a wrong order.
            warnings.filterwarnings("ignore", "Detected call of", UserWarning)
            scheduler.step()
