"""Train one trial and log what happens. Knows nothing of packs, files or schedulers."""

import math
import secrets
import time
from typing import Any

import torch
from torch.nn import functional

from jobs import events
from jobs.augment import Augmentation
from jobs.block import Block, tensor_digest
from jobs.data import Dataset
from jobs.evaluate import Score, evaluate, evaluation_steps, network_input
from jobs.events import EventLog
from jobs.launch import Launch, StopFlag
from jobs.splits import chance
from jobs.trial import Trial
from thermolion import registry

# A trial that ends within this of the majority-class rate has learnt nothing: it diverged.
_LEARNT_NOTHING = 0.01


class Training:
    """The state of a trial between two steps; `dataset` lies on the device of `launch`."""

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
        self.optimizer = registry.build(
            trial.candidate.optimizer,
            self.model.parameters(),
            trial.candidate.hyperparameters,
            trial.seeds["noise"],
        )
        self._augmentation = Augmentation(
            workload.augment, trial.seeds["augment"], len(dataset.train.labels)
        )
        images = len(self._block.split.train)
        self.steps_per_epoch = math.ceil(images / workload.global_batch)
        self.steps = self.steps_per_epoch * workload.epochs
        self.step = 0
        self.samples = 0
        self.train_seconds = 0.0
        self._order = torch.empty(0, dtype=torch.int64)
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._loss_samples = 0
        held_out = self._block.split.validation
        self._prefix = "train" if held_out is None else "val"
        scored = self._block.split.train if held_out is None else held_out
        self._scored_images = dataset.train.images[scored.to(self._device)]
        self._scored_labels = dataset.train.labels[scored.to(self._device)]

    def describe(self) -> dict[str, Any]:
        """Return what a `started` event says, JSON-ready."""
        split = self._block.split
        return {
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "images": {
                "train": len(split.train),
                "validation": 0 if split.validation is None else len(split.validation),
                "test": len(self._dataset.test.labels),
            },
            "chance": {
                f"{self._prefix}_accuracy": chance(self._scored_labels),
                "test_accuracy": chance(self._dataset.test.labels),
            },
            "digests": self.digests,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
        }

    def advance(self, until: int, stop: StopFlag) -> None:
        """Take steps up to `until`, or to the one at which `stop` is set; the clock runs."""
        if self.step == until:
            return
        begin = time.perf_counter()
        while self.step < until and not stop:
            self._take_step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.train_seconds += time.perf_counter() - begin

    def measure(self) -> dict[str, float]:
        """Score the curve's metrics; the training loss is the mean since the last call."""
        score = evaluate(self.model, self._scored_images, self._scored_labels)
        loss_name = "val_loss" if self._prefix == "val" else "train_set_loss"
        metrics = {f"{self._prefix}_accuracy": score.accuracy, loss_name: score.loss}
        if self._loss_samples:
            metrics["train_loss"] = float(self._loss) / self._loss_samples
            self._loss.zero_()
            self._loss_samples = 0
        return metrics

    def test(self) -> Score:
        """Score the official test part; called once, at the end."""
        return evaluate(self.model, self._dataset.test.images, self._dataset.test.labels)

    def _take_step(self) -> None:
        workload = self._trial.workload
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0:
            self._order = self._block.order(epoch).to(self._device)
        begin = position * workload.global_batch
        chosen = self._order[begin : begin + workload.global_batch]
        images = self._augmentation.apply(self._dataset.train.images[chosen], chosen, epoch)
        labels = self._dataset.train.labels[chosen]
        loss = functional.cross_entropy(self.model(network_input(images)), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        self._loss += loss.detach() * len(chosen)
        self._loss_samples += len(chosen)
        self.samples += len(chosen)
        self.step += 1


def run_trial(trial: Trial, dataset: Dataset, launch: Launch, log: EventLog) -> None:
    """Train `trial` and log how it ends: completed, diverged, or interrupted by the stop flag."""
    if launch.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    training = Training(trial, dataset, launch)
    described = training.describe()
    token = secrets.token_hex(8)
    log.append(events.STARTED, trial.id, token=token, config=trial.to_json(), **described)
    metrics: dict[str, float] = {}
    for target in sorted(evaluation_steps(training.steps_per_epoch, trial.workload.epochs)):
        training.advance(target, launch.stop)
        if training.step < target:
            reason = f"stopped by {launch.stop.reason}"
            log.append(events.INTERRUPTED, trial.id, step=training.step, error=reason)
            return
        metrics = training.measure()
        log.append(
            events.EVALUATED,
            trial.id,
            step=training.step,
            epoch=training.step / training.steps_per_epoch,
            samples=training.samples,
            train_seconds=training.train_seconds,
            metrics=metrics,
        )
        broken = [f"{k} is {v}" for k, v in sorted(metrics.items()) if not math.isfinite(v)]
        if broken:
            _end(training, trial, launch, log, {}, f"{', '.join(broken)} at step {target}")
            return
    score = training.test()
    final = {"test_accuracy": score.accuracy, "test_loss": score.loss}
    ((name, floor),) = [(k, v) for k, v in described["chance"].items() if k != "test_accuracy"]
    learnt = metrics[name] > floor + _LEARNT_NOTHING
    why = None if learnt else f"{name} {metrics[name]:.3f} at the end, chance is {floor:.3f}"
    _end(training, trial, launch, log, final, why)


def _end(
    training: Training,
    trial: Trial,
    launch: Launch,
    log: EventLog,
    metrics: dict[str, float],
    divergence: str | None,
) -> None:
    end: dict[str, Any] = {
        "step": training.step,
        "train_seconds": training.train_seconds,
        "metrics": metrics,
        "weights": tensor_digest(training.model.state_dict().values()),
    }
    if launch.device == "cuda":
        end["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    if divergence is None:
        log.append(events.COMPLETED, trial.id, **end)
    else:
        log.append(events.DIVERGED, trial.id, error=divergence, **end)
