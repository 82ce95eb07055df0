"""Runs that other frameworks' own loggers have written to MLflow."""

import json
import math

import pytest

from jobs.images import torchvision_import

LION = [0.912, 0.9085, 0.914, 0.9105, 0.913]
ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065]
P = 0.01105649  # of scipy.stats.ttest_rel(LION, ADAMW)
PAIRS = [
    (optimizer, seed, final)
    for seed, finals in enumerate(zip(LION, ADAMW, strict=True))
    for optimizer, final in zip(("lion", "adamw"), finals, strict=True)
]


class Trial:
    """What Ray's callback asks of a trial."""

    def __init__(self, name, config):
        self.name, self.config = name, config

    def __str__(self):
        return self.name


def answer(thermolion, store, *more):
    said = thermolion(*store.ask("--baseline", "adamw", "--json", *more))
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_runs_of_rays_callback_are_compared(store, thermolion):
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    callback = MLflowLoggerCallback(tracking_uri=store.uri, experiment_name="nlp")
    callback.setup()
    for number, (optimizer, seed, final) in enumerate([*PAIRS, ("lion", 5, None), *PAIRS[:2]]):
        trial = Trial(f"train_{number:05d}", {"opt": {"name": optimizer, "lr": 0.1}, "seed": seed})
        callback.log_trial_start(trial)
        for step, value in enumerate((0.1, 0.5, final), 1):
            if value is not None:
                result = {"val_acc": value, "training_iteration": step, "done": step == 3}
                callback.log_trial_result(step, trial, result | {"config": trial.config})
        # A driver that was killed leaves its runs RUNNING, and a restored one makes new ones.
        if number < len(PAIRS):
            callback.log_trial_end(trial, failed=False)
        elif final is None:
            callback.log_trial_end(trial, failed=True)
    found = answer(thermolion, store, "--candidate", "params.opt/name")
    estimate = found["pooled"][0]["estimate"]
    assert estimate["p"] == pytest.approx(P, abs=1e-6)
    assert estimate["n"] == 5


def test_runs_of_lightnings_logger_are_compared(store, thermolion):
    assert torchvision_import.torchvision  # Lightning imports it, and here it may need help
    from lightning.pytorch.loggers import MLFlowLogger

    for optimizer, seed, final in [*PAIRS, ("lion", 5, math.inf), ("adamw", 5, 0.9)]:
        logger = MLFlowLogger(experiment_name="nlp", tracking_uri=store.uri)
        logger.log_hyperparams({"optimizer": optimizer, "seed": seed, "model": {"width": 64}})
        for step, value in ((49, 0.1), (99, 0.5), (149, final)):
            logger.log_metrics({"train_loss": 1.0, "epoch": step // 50}, step=step - 10)
            logger.log_metrics({"val_acc": value, "epoch": step // 50}, step=step)
        logger.log_metrics({"test_acc": min(final, 1.0)}, step=150)
        logger.finalize("success")
    found = answer(thermolion, store, "--chance", "0.1", "--filter", "params.seed != '5'")
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)
    found = answer(thermolion, store, "--chance", "0.1")
    assert found["pooled"][0]["estimate"]["n"] == 6
    assert found["pooled"][0]["estimate"]["mean"] == pytest.approx((5 * 0.004 + 0.1 - 0.9) / 6)
