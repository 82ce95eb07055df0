"""What `evaluate` of a workload changes in a trial, and what it leaves alone."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from lanes import RICH, STEPS, Study, made, result
from torch.nn import functional

from jobs.contract.asha import Rungs
from jobs.contract.trial import Trial
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.images import data, trainer
from jobs.images.data import normalise
from jobs.images.splits import Block
from jobs.images.trainer import Training
from jobs.ranks.launch import Launch
from tracking.compare.tuning import last_curve_value
from tracking.outcomes import Outcome

pytestmark = pytest.mark.usefixtures("as_it_was")


def _made(plan: EvaluationPlan, optimizer: str = "thermolion", **fields: Any) -> Trial:
    """Return a trial with the seeds of one that is evaluated as usual."""
    usual = made(optimizer=optimizer)
    return replace(usual, workload=replace(RICH, evaluate=plan), **fields)


def _run(folder: Any, trial: Trial, **launch: Any) -> Outcome:
    study = Study(folder, trial)
    assert study.run(**launch) == 0
    (outcome,) = study.outcomes()
    assert outcome.state == "completed", outcome.error
    return outcome


def _scored_by_hand(trial: Trial, samples: int | None) -> tuple[dict[str, float], list[int]]:
    """Return the score of the untrained model on its validation images, or a part of them."""
    dataset = data.load("digits", {}, None)
    block = Block(trial, dataset)
    chosen = block.split.validation
    assert chosen is not None
    if samples is not None:
        chosen = block.thin(chosen, samples)
    part, model = dataset.train.subset(chosen), block.initial_model().eval()
    with torch.no_grad():
        logits = model(normalise(part.images))
    loss = functional.cross_entropy(logits, part.labels)
    accuracy = (logits.argmax(1) == part.labels).float().mean()
    scores = {"val_loss": float(loss), "val_accuracy": float(accuracy)}
    return scores, torch.bincount(part.labels, minlength=10).tolist()


def test_a_sparser_curve_changes_no_bit_of_weights_and_final_score(tmp_path: Any) -> None:
    usual = _run(tmp_path / "usual", _made(EvaluationPlan()))
    assert len(usual.curve) == 9
    for number, (every, steps) in enumerate({"1ep": [0, 5, 10], "7 steps": [0, 7, 10]}.items()):
        trial = _made(EvaluationPlan(every, samples=30))
        assert trial.id != usual.trial.id
        sparse = _run(tmp_path / str(number), trial)
        assert [point.step for point in sparse.curve] == steps
        assert sparse.weights == usual.weights
        assert sparse.metrics == usual.metrics
        last, as_usual = sparse.curve[-1].metrics, usual.curve[-1].metrics
        # The training loss is the mean since the evaluation before, which is another one.
        for name in ("val_accuracy", "val_loss"):
            assert last[name] == as_usual[name], "the last point is measured on all images"


def test_a_thinned_point_is_of_a_stratified_part_that_all_candidates_share(tmp_path: Any) -> None:
    plan = EvaluationPlan("1ep", samples=40)
    trials = [_made(plan, optimizer) for optimizer in ("thermolion", "sgd")]
    study = Study(tmp_path, *trials)
    assert study.run() == 0
    whole, in_all = _scored_by_hand(trials[0], None)
    thinned, chosen = _scored_by_hand(trials[0], 40)
    assert sum(chosen) == 40
    quotas = [40 * count / sum(in_all) for count in in_all]
    assert all(abs(n - quota) < 1 for n, quota in zip(chosen, quotas, strict=True))
    for outcome in study.outcomes():
        first = outcome.curve[0].metrics
        assert first["val_loss"] == pytest.approx(thinned["val_loss"], rel=1e-5)
        assert first["val_accuracy"] == pytest.approx(thinned["val_accuracy"])
        assert first["val_loss"] != pytest.approx(whole["val_loss"], rel=1e-5)
        # Its chance is that of all images, which its end is measured on.
        assert outcome.started["images"]["validation"] == sum(in_all)
        assert outcome.started["chance"]["val_accuracy"] == max(in_all) / sum(in_all)
        count = sum(in_all) * outcome.curve[-1].metrics["val_accuracy"]
        assert count == pytest.approx(round(count))


def test_more_samples_than_there_are_stand_for_all(tmp_path: Any) -> None:
    outcomes = [
        _run(tmp_path / str(samples), _made(EvaluationPlan(samples=samples)))
        for samples in (None, 100_000)
    ]
    assert result(outcomes[0]) == result(outcomes[1])


def test_a_rung_between_two_evaluations_is_measured_there_and_on_all(tmp_path: Any) -> None:
    plan = EvaluationPlan("2ep", samples=40)
    rungs = {"phase": "tune", "rungs": Rungs((1,), 2, "all")}
    better, worse = (
        replace(
            trial,
            workload=replace(trial.images, ema=None),
            candidate=replace(trial.candidate, hyperparameters={"lr": rate}),
        )
        for trial, rate in (
            (_made(plan, "adamw", **rungs), 1e-2),
            (_made(plan, "adamw", **rungs), 1e-9),
        )
    )
    study = Study(tmp_path, better, worse)
    assert study.run() == 0
    whole, ended = study.outcomes()
    assert ([p.step for p in whole.curve], whole.rung) == ([0, 5, STEPS], None)
    assert ([p.step for p in ended.curve], ended.rung) == ([0, 5], 1)
    count = last_curve_value(ended) * ended.started["images"]["validation"]
    assert count == pytest.approx(round(count))


@pytest.mark.parametrize("stop_after", [3, 7])
def test_a_thinned_trial_that_was_interrupted_has_the_same_bits(
    stop_after: int, tmp_path: Any
) -> None:
    trial = _made(EvaluationPlan("7 steps", samples=40))
    whole = _run(tmp_path / "whole", trial)
    study = Study(tmp_path / "stopped", trial)
    assert study.run(stop_after=stop_after) != 0
    assert study.run() == 0
    (resumed,) = study.outcomes()
    assert resumed.attempts == 2
    assert result(resumed) == result(whole)


def test_a_size_of_batch_of_its_own_scores_the_same_images(tmp_path: Any) -> None:
    usual = _run(tmp_path / "usual", _made(EvaluationPlan()))
    other = _run(tmp_path / "other", _made(EvaluationPlan(batch=7)))
    assert other.trial.id != usual.trial.id
    assert other.weights == usual.weights
    for one, as_usual in zip(other.curve, usual.curve, strict=True):
        assert one.metrics == pytest.approx(as_usual.metrics, rel=1e-5)


def test_a_trial_is_scored_by_the_batches_with_which_it_began(monkeypatch: Any) -> None:
    sizes: list[int] = []
    scores = trainer.evaluate

    def noted(*arguments: Any) -> Any:
        sizes.append(arguments[5])
        return scores(*arguments)

    monkeypatch.setattr(trainer, "evaluate", noted)
    trial = _made(EvaluationPlan())

    def started() -> Training:
        return Training(trial, data.load("digits", {}, None), Launch())

    state = started().state()
    of_early_version = {name: value for name, value in state.items() if name != "scoring_batch"}
    for resumed in (state, state | {"scoring_batch": 1024}, of_early_version):
        training = started()
        training.restore(resumed)
        training.measure()
        training.test()
    assert sizes == [128, 128, 1024, 1024, 128, 128]
    assert trainer.BATCHES["cuda"] >= 1024


def test_a_loss_that_is_lost_between_evaluations_is_noticed_at_the_next(tmp_path: Any) -> None:
    trial = _made(EvaluationPlan("1ep"), "sgd")
    lost = replace(
        trial, candidate=replace(trial.candidate, hyperparameters={"lr": 1e30, "momentum": 0.0})
    )
    study = Study(tmp_path, lost)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert outcome.state == "diverged"
    assert [point.step for point in outcome.curve] == [0, 5]
    assert not all(map(math.isfinite, outcome.curve[-1].metrics.values()))
