"""The training of an image classifier: its steps, its scores, and its state between two steps.

Logs nothing, saves no file.
"""

import inspect
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from jobs.contract.trial import Trial
from jobs.contract.workloads import schedule
from jobs.images.augment import Augmentation
from jobs.images.averaging import Average
from jobs.images.data import Dataset
from jobs.images.evaluate import BATCHES, Score, evaluate, network_input
from jobs.images.replica import Objective, Replica, shard
from jobs.images.splits import Block, chance
from jobs.ranks.group import RankGroup
from jobs.ranks.launch import Launch
from thermolion import registry
from thermolion.step.noise import keyed_generator

NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation, of all dimensions
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def parameters(
    model: nn.Module, no_decay: Collection[str], optimizer: Callable[..., Any]
) -> Iterable[Any]:
    """Return what `optimizer` is given: the parameters of `model`, or two groups of them.

    `no_decay` has `bias` (every parameter whose name ends so) and `norm` (those of torch's
    normalisations and of classes derived from them): these get a weight decay of 0 and come last,
    in the model's order. An optimizer that has no `weight_decay` is given the parameters as they
    are.
    """
    if not no_decay or not _has_weight_decay(optimizer):
        return model.parameters()
    of_norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMALISATIONS)
        for parameter in module.parameters(recurse=False)
    }
    decayed: dict[str, Any] = {"params": []}
    excluded: dict[str, Any] = {"params": [], "weight_decay": 0.0}
    for name, parameter in model.named_parameters():
        is_excluded = ("bias" in no_decay and name.endswith("bias")) or (
            "norm" in no_decay and id(parameter) in of_norms
        )
        (excluded if is_excluded else decayed)["params"].append(parameter)
    return [group for group in (decayed, excluded) if group["params"]]


def _has_weight_decay(optimizer: Callable[..., Any]) -> bool:
    """Return True if an optimizer takes a weight decay, by its name or by `**kwargs`."""
    taken = inspect.signature(optimizer).parameters
    has_kwargs = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    return has_kwargs or "weight_decay" in taken


class Training:
    """The state of a trial between two steps; `dataset` is on the device of `launch`.

    What is not in `state` follows from the trial and the step, except the global random
    generators, which the caller has to save: dropout draws from them, with a stream for each rank
    of a `group`. All ranks call a method alike, and have equal weights between two steps.
    """

    def __init__(
        self, trial: Trial, dataset: Dataset, launch: Launch, group: RankGroup | None = None
    ) -> None:
        workload = trial.images
        self._trial = trial
        self._dataset = dataset
        self._group = group or RankGroup()
        self._device = launch.torch_device
        self._block = Block(trial, dataset)
        model = self._block.initial_model()
        self.digests = self._block.digests(model)
        self.model = model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own overloads
        torch.manual_seed(dropout_seed(trial, self._group.rank))
        images = len(self._block.split.train)
        self.steps_per_epoch = math.ceil(images / workload.global_batch)
        self.steps = self.steps_per_epoch * workload.epochs
        self.step = 0
        self.samples = 0
        self.train_seconds = 0.0
        self.optimizer = self._build_optimizer()
        objective = Objective(self.model, trial.precision, workload.label_smoothing)
        self._replica = Replica(self._group, objective, self.optimizer, workload.global_batch)
        self._scheduler = self._build_scheduler()
        # Small gradients of fp16 would become 0.
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=trial.precision == "fp16")
        self._augmentation = Augmentation(
            workload.augment, trial.seeds["augment"], len(dataset.train)
        )
        self._average = Average(self.model, self.optimizer, trial, self._group)
        # The steps that are left of the epoch, each with its indices in micro-batches.
        self._steps_left: deque[tuple[Tensor, ...]] = deque()
        self._images: Iterator[Tensor] = iter(())
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._loss_samples = 0
        held_out = self._block.split.validation
        self._prefix = "train" if held_out is None else "val"
        scored = self._block.split.train if held_out is None else held_out
        self._scored = dataset.train.subset(scored)
        samples = workload.evaluate.samples
        self._thinned = (
            self._scored
            if samples is None
            else dataset.train.subset(self._block.thin(scored, samples))
        )
        self.scoring_batch = workload.evaluate.batch or BATCHES[self._device.type]

    def _build_optimizer(self) -> Any:
        candidate = self._trial.candidate
        kind = registry.load(candidate.optimizer)
        return registry.build(
            candidate.optimizer,
            parameters(self.model, self._trial.images.no_decay, kind),
            candidate.hyperparameters,
            self._trial.seeds["noise"],
            self.steps,
            self.steps_per_epoch,
        )

    def _build_scheduler(self) -> LambdaLR | None:
        declared, steps = self._trial.images.schedule, self.steps
        if not declared:
            return None
        return LambdaLR(self.optimizer, lambda step: schedule.factor(declared, step / steps))

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is scored: at an average of the weights, if there is one."""
        return self._average.model(self._batches_of_statistics)

    def describe(self) -> dict[str, Any]:
        """Return the facts for the `started` event, JSON-ready."""
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
        """Take steps up to `until`, or until `pause`, asked before every step, returns True.

        The time is added to `train_seconds`.
        """
        if self.step == until:
            return
        begin = time.perf_counter()
        while self.step < until and not pause():
            self._take_step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.train_seconds += time.perf_counter() - begin

    def measure(self, whole: bool = True) -> dict[str, float]:
        """Score the curve's metrics; the training loss is the mean since the last call.

        If not on the `whole`, on the `samples` that the workload thins its curve to, if any.
        """
        score = self._score(self._scored if whole else self._thinned)
        loss_name = "val_loss" if self._prefix == "val" else "train_set_loss"
        metrics = {f"{self._prefix}_accuracy": score.accuracy, loss_name: score.loss}
        samples = torch.tensor(self._loss_samples, device=self._device)
        self._group.sum(self._loss, samples)
        if samples:
            metrics["train_loss"] = float(self._loss) / int(samples)
        self._loss.zero_()
        self._loss_samples = 0
        return metrics

    def test(self) -> Score:
        """Score the official test part; called once, at the end."""
        return self._score(self._dataset.test)

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs, plain types and tensors alone.

        The tensors are no copies: save them before the next step. The running loss is that of
        every rank, the rest is equal on all.
        """
        losses = self._group.exchange("state", (float(self._loss), self._loss_samples))
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizers": self._replica.optimizer_states(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict() or None,  # without one, None since format 1
            "ema": self._average.state(),
            "step": self.step,
            "samples": self.samples,
            "scoring_batch": self.scoring_batch,
            "train_seconds": self.train_seconds,
            "loss": torch.tensor([loss for loss, _ in losses], dtype=torch.float64),
            "loss_samples": torch.tensor([samples for _, samples in losses]),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the `state` of a training of the same trial."""
        self.model.load_state_dict(state["model"])
        by_rank = state.get("optimizers")
        optimizer = by_rank[self._group.rank] if by_rank else state["optimizer"]
        self.optimizer.load_state_dict(optimizer)
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self._scaler.load_state_dict(state["scaler"])
        self._average.restore(state["ema"])
        self.step, self.samples = state["step"], state["samples"]
        self.train_seconds = state["train_seconds"]
        # A trial is scored in one way, though another version or device may go on with it.
        self.scoring_batch = state.get("scoring_batch", BATCHES["cpu"])
        # Before there were ranks, these were single numbers.
        loss, samples = (torch.as_tensor(state[key]) for key in ("loss", "loss_samples"))
        self._loss.copy_(loss.flatten()[self._group.rank])
        self._loss_samples = int(samples.flatten()[self._group.rank])
        self._steps_left.clear()
        self._images = iter(())

    def _score(self, part: Any) -> Score:
        # `evaluate` does this for the model that it scores, which may be an average.
        self._group.broadcast_buffers(self.model)
        return evaluate(
            self.evaluated_model,
            part,
            self._trial.precision,
            self._trial.images.loader_workers,
            self._group,
            self.scoring_batch,
        )

    def _begin_epoch(self) -> None:
        """Queue the steps that are left of the epoch of the next step, and read their images."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        self._steps_left.extend(self._split_epoch(epoch)[position:])
        _, self._images = self._batches_of(self._steps_left)

    def _batches_of(
        self, steps: Iterable[tuple[Tensor, ...]]
    ) -> tuple[list[Tensor], Iterator[Tensor]]:
        """Return the indices of this rank in each micro-batch of `steps`, and their images."""
        shards = (shard(part, self._group) for part in chain.from_iterable(steps))
        chunks = [chosen for chosen in shards if len(chosen)]
        workers = self._trial.images.loader_workers
        return chunks, self._dataset.train.batches(chunks, workers)

    def _split_epoch(self, epoch: int) -> list[tuple[Tensor, ...]]:
        """Return the indices of the samples of each step of an epoch, in micro-batches."""
        workload = self._trial.images
        order = self._block.order(epoch).to(self._device)
        micro_batch = math.ceil(workload.global_batch / workload.accumulate)
        steps = torch.split(order, workload.global_batch)
        return [torch.split(chosen, micro_batch) for chosen in steps]

    def _batches_of_statistics(self) -> Iterator[Tensor]:
        """Yield the inputs of this rank's network in the first epoch, by micro-batch."""
        for chosen, images in zip(*self._batches_of(self._split_epoch(0)), strict=True):
            yield network_input(self._augmentation.apply(images, chosen, 0))

    def _take_step(self) -> None:
        if not self._steps_left:
            self._begin_epoch()
        parts = self._steps_left.popleft()
        count = sum(map(len, parts))
        self.optimizer.zero_grad()
        self._replica.begin_step(parts)
        with self._replica.no_sync():
            for part in parts[:-1]:
                self._add_gradient(shard(part, self._group), count)
        self._add_gradient(shard(parts[-1], self._group), count)
        self._update()
        self.samples += count
        self.step += 1
        if not self._steps_left:
            self._images = iter(())  # ends the processes that have read this epoch

    def _add_gradient(self, chosen: Tensor, count: int) -> None:
        """Add the samples `chosen` to the mean gradient of a step of `count` samples."""
        epoch = self.step // self.steps_per_epoch
        images = chosen
        if len(chosen):
            images = self._augmentation.apply(next(self._images), chosen, epoch)
        loss = self._replica.loss(images, self._dataset.train.labels[chosen])
        # The average over ranks is then that over all samples of the step.
        factor = len(chosen) * self._group.size / count
        part = loss if factor == 1 else loss * factor
        self._scaler.scale(part).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._loss += loss.detach() * len(chosen)
        self._loss_samples += len(chosen)

    def _update(self) -> None:
        """Take a step with the gradients that are accumulated."""
        clip_norm = self._trial.images.clip_norm
        if clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._scheduler is not None:
            self._advance_schedule(self._scheduler)
        self._average.update()

    def _advance_schedule(self, scheduler: LambdaLR) -> None:
        """Set the learning rate of the next step, whether or not the scaler has skipped this."""
        if self.step > 0 or not self._scaler.is_enabled():
            scheduler.step()
            return
        with warnings.catch_warnings():
            # If the first step was skipped, torch warns that the calls are in the wrong order.
            warnings.filterwarnings("ignore", "Detected call of", UserWarning)
            scheduler.step()


def dropout_seed(trial: Trial, rank: int) -> int:
    """Return the seed of the dropout of a rank: the block's on rank 0, else derived from it."""
    seed = trial.seeds["dropout"]
    return keyed_generator("cpu", seed, "rank", rank).initial_seed() if rank else seed
