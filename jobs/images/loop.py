"""Image classification as a training: evaluates, saves and stops through the `Context`."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.contract.trial import Trial
from jobs.contract.workloads.catalog import DataError
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data
from jobs.images.evaluate import BATCHES
from jobs.images.splits import tensor_digest
from jobs.images.trainer import Training
from jobs.worker.context import Context
from jobs.worker.divergence_check import Diverged, check_finite, check_limit, describe_chance
from thermolion.optimizer import ThermoLion


def train(trial: Trial, context: Context) -> dict[str, float] | None:
    """Train a classifier from where the last attempt stopped; return the scores on the test part.

    Returns None if it is told to stop, or ends at a rung. Raises Diverged if a metric is not
    finite or past the limit of the workload. A model that has learnt nothing is noted.
    """
    workload = trial.images
    dataset = _load_dataset(workload, context)
    training = Training(trial, dataset, context.launch, context.group)
    context.clock = lambda: training.train_seconds
    described = training.describe()
    _check_equal(context.group.exchange("digests", training.digests))
    context.describe(**described)
    progress = _Progress(training, context, workload.metric_spec.metric)
    progress.resume()
    if context.stopping.ask_at_rung():  # as the attempt before this one was told
        return None
    rungs = () if trial.rungs is None else trial.rungs.at
    budget = training.steps_per_epoch, workload.epochs, rungs
    progress.whole_at = workload.evaluate.whole_steps(*budget)
    for target in workload.evaluate.steps(*budget):
        if not progress.train_to(target):
            return None
    score = training.test()
    final = {"test_accuracy": score.accuracy, "test_loss": score.loss}
    context.weights = tensor_digest(training.model.state_dict().values())
    if context.keep == "last":
        context.save(progress.state())
    metric = progress.metric
    chance = described["chance"][metric]
    context.at_chance = describe_chance(metric, progress.metrics[metric], chance)
    return final


def _load_dataset(workload: ImageWorkload, context: Context) -> data.Dataset:
    """Read the data set; if it may be downloaded, rank 0 does that before the others read."""
    named = workload.dataset, workload.dataset_options, context.data_root
    device = str(context.device)
    if not context.download or context.rank == 0:
        dataset = data.load(*named, context.download, device)
    if context.download:
        context.group.broadcast()
        if context.rank:
            dataset = data.load(*named, device=device)
    return dataset


def _check_equal(digests: Sequence[Mapping[str, str]]) -> None:
    """Raise DataError if ranks would train on other data or from other weights than rank 0."""
    for rank, of_rank in enumerate(digests):
        other = [what for what, digest in of_rank.items() if digest != digests[0][what]]
        if other:
            raise DataError(
                f"rank {rank} has another {', '.join(other)} than rank 0: do all nodes see the "
                "same files below --data, and have they the same versions of torch?"
            )


class _Progress:
    """How far a training is among its evaluations; its state is what a checkpoint holds."""

    def __init__(self, training: Training, context: Context, metric: str) -> None:
        self._training, self._context, self.metric = training, context, metric
        self.metrics: dict[str, float] = {}
        self.whole_at: Collection[int] = ()
        self._evaluated = -1
        self._best = -math.inf

    def state(self) -> dict[str, Any]:
        return {
            "training": self._training.state(),
            "metrics": self.metrics,
            "evaluated": self._evaluated,
            "best": self._best,
        }

    def resume(self) -> None:
        """Continue from the state that the last attempt has saved, if there is one."""
        state = self._context.load()
        if state is not None:
            self._training.restore(state["training"])
            self.metrics, self._evaluated = state["metrics"], state["evaluated"]
            self._best = state["best"]

    def train_to(self, target: int) -> bool:
        """Train up to the step of an evaluation, and evaluate; return False if the trial stops."""
        training, context = self._training, self._context
        if target <= self._evaluated:
            return True
        while training.step < target:
            self._advance(target)
            if training.step < target:
                context.save(self.state())
                if context.should_stop():
                    return False
        self._evaluate()
        if not context.stopping.ask_at_rung():
            return True
        if context.keep == "last":
            context.save(self.state())
        return False

    def _advance(self, target: int) -> None:
        training, launch = self._training, self._context.launch
        last = target if launch.stop_after is None else min(target, launch.stop_after)
        training.advance(last, self._context.should_save)
        if last < target and training.step >= last:
            self._context.stopping.stop_all(f"step {last}, as asked")

    def _evaluate(self) -> None:
        training, context = self._training, self._context
        self.metrics = training.measure(whole=training.step in self.whole_at)
        self._evaluated = training.step
        epoch = training.step / training.steps_per_epoch
        facts: dict[str, Any] = {"epoch": epoch, "samples": training.samples}
        if training.scoring_batch != BATCHES["cpu"]:
            facts["scoring_batch"] = training.scoring_batch
        context.log_point(training.step, self.metrics, **facts)
        if context.trial.images.telemetry and context.rank == 0:
            self._log_layers()
        when = f"at step {training.step}"
        try:
            check_finite(self.metrics, when, on_all_ranks=True)
            check_limit(context.trial.workload.diverged, self.metrics, when, on_all_ranks=True)
        except Diverged:
            context.weights = tensor_digest(training.model.state_dict().values())
            raise
        if context.keep == "best" and self.metrics[self.metric] > self._best:
            self._best = self.metrics[self.metric]
            context.save_best({"model": training.evaluated_model.state_dict()})

    def _log_layers(self) -> None:
        """Log the optimizer's telemetry by layer; there is none before the first step."""
        training = self._training
        if isinstance(training.optimizer, ThermoLion):
            names = {param: name for name, param in training.model.named_parameters()}
            layers = training.optimizer.telemetry(names)
            if layers:
                records = {name: asdict(layer) for name, layer in layers.items()}
                self._context.log_layers(training.step, records)
