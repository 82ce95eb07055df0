"""What is scored in the place of the trained weights: SWA's average, against torch's own."""

import dataclasses
from typing import Any

import pytest
import torch
from lanes import Study
from torch import nn
from torch.nn import functional
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel, update_bn

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload, Workload
from jobs.images import data
from jobs.images.data import normalise
from jobs.images.splits import Block
from jobs.images.trainer import Training
from jobs.ranks.launch import Launch
from jobs.worker import checkpoint

_SET = {"difficulty": 0.3, "images": 120, "classes": 4, "size": 8, "seed": 1}
_WORKLOAD = ImageWorkload(
    "w",
    "synthetic",
    dataset_options=_SET,
    model="normalised_net:net",
    epochs=3,
    global_batch=40,
    train_images=100,  # three steps an epoch
)


def _trial(workload: Workload = _WORKLOAD, **options: Any) -> Trial:
    candidate = Candidate(
        "swa", "swa", {"lr": 0.05, "momentum": 0.9, "average_from": 0.5} | options
    )
    seeds = block_seeds(0, "compare", ImageWorkload("seeds"), 0)
    return Trial(workload, candidate, "compare", 0, seeds)


def _training(trial: Trial) -> Training:
    return Training(trial, data.load("synthetic", _SET, None), Launch())


def _never() -> bool:
    return False


def _equal(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_the_scored_weights_and_statistics_are_those_of_torch_by_hand() -> None:
    trial = _trial()
    dataset = data.load("synthetic", _SET, None)
    block = Block(trial, dataset)
    model = block.initial_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own overloads
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    average = AveragedModel(model)

    def batches(epoch: int) -> Any:
        for chosen in torch.split(block.order(epoch), 40):
            images = normalise(dataset.train.images[chosen])
            yield images.contiguous(memory_format=torch.channels_last), chosen

    training = _training(trial)
    for epoch in range(3):
        for images, chosen in batches(epoch):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), dataset.train.labels[chosen]).backward()
            optimizer.step()
        training.advance(3 * epoch + 3, _never)
        assert _equal(training.model, model)
        if epoch == 0:
            assert training.evaluated_model is training.model
            continue
        average.update_parameters(model)
        update_bn(batches(0), average)
        scored = training.evaluated_model
        assert scored is not training.model
        for name, value in average.module.state_dict().items():
            torch.testing.assert_close(scored.state_dict()[name], value, rtol=1e-6, atol=1e-6)
    assert _equal(training.model, model)  # the average has not touched what is trained


def test_scoring_an_average_leaves_the_training_and_its_draws_alone() -> None:
    workload = dataclasses.replace(
        _WORKLOAD, model="vit", model_options={"layers": 1, "dropout": 0.3}, augment=("crop",)
    )
    often, seldom = (_training(_trial(workload)) for _ in range(2))
    for step in range(1, 10):
        often.advance(step, _never)
        often.measure()
    seldom = _training(_trial(workload))
    seldom.advance(9, _never)
    assert _equal(often.model, seldom.model)
    assert _equal(often.evaluated_model, seldom.evaluated_model)


def test_before_the_first_average_of_the_optimizer_that_of_the_workload_is_scored() -> None:
    training = _training(_trial(dataclasses.replace(_WORKLOAD, ema=0.9)))
    training.advance(3, _never)
    of_workload = training.evaluated_model
    assert of_workload is not training.model
    training.advance(6, _never)
    assert training.evaluated_model is not of_workload


@pytest.mark.parametrize("at", [6, 7])
def test_a_resumed_training_scores_the_same_bits(at: int) -> None:
    whole, broken = _training(_trial()), _training(_trial())
    whole.advance(9, _never)
    broken.advance(at, _never)
    expected = broken.measure()["val_loss"]
    resumed = _training(_trial())
    resumed.restore(broken.state())
    assert resumed.measure()["val_loss"] == expected
    resumed.advance(9, _never)
    assert _equal(resumed.evaluated_model, whole.evaluated_model)
    assert resumed.test() == whole.test()


def test_what_is_kept_as_the_best_is_what_was_scored(tmp_path: Any) -> None:
    trial = _trial(average_from=0.0)
    study = Study(tmp_path, trial, keep="best")
    assert study.run() == 0
    (outcome,) = study.outcomes()
    kept = checkpoint.read(study.layout.best_checkpoint(trial.id), trial.id)
    assert kept is not None
    training = _training(trial)
    training.advance(kept.step, _never)
    mine = training.evaluated_model.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in kept.state["model"].items())
    best = max(outcome.curve, key=lambda point: point.metrics["val_accuracy"])
    assert kept.step == best.step
