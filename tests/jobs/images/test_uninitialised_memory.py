"""Memory that is not filled before its first use changes no bit of what we ship.

Torch's deterministic mode fills it with NaN: were it read, the numbers would be NaN with that, and
others without it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lanes import Study

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.catalog import MODELS
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import loop
from jobs.ranks.launch import Launch
from thermolion.registry import OPTIMIZERS

pytestmark = pytest.mark.usefixtures("as_it_was")

_WORKLOAD = ImageWorkload(
    name="w",
    dataset="synthetic",
    dataset_options={"difficulty": 0.3, "images": 54, "classes": 4, "size": 16, "seed": 1},
    model="convnet",
    epochs=1,
    global_batch=16,
    augment=("hflip", "crop"),
    clip_norm=1.0,
    accumulate=2,
    label_smoothing=0.1,
    no_decay=("bias", "norm"),
    ema=0.9,
    evaluate=EvaluationPlan("1ep"),
)
_OPTIONS: dict[str, dict[str, Any]] = {
    "convnet": {"dropout": 0.2},
    "resnet18": {},
    "vit": {"patch": 4, "layers": 2, "heads": 2, "width": 32, "dropout": 0.1},
}
_HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "lookahead": {"slow_every": 2},
    "swats": {"threshold": 1.0},
    "swats_notebook": {"switch_after": 2},
    "swa": {"average_from": 0.3, "momentum": 0.9},
    "sgd": {"momentum": 0.9, "nesterov": True},
    "rmsprop": {"momentum": 0.9, "centered": True},
    "adamw": {"amsgrad": True},
}
_PAIRS = [
    *(("convnet", optimizer) for optimizer in OPTIMIZERS),
    *((model, "thermolion") for model in MODELS),
]


def _trial(model: str, optimizer: str) -> Trial:
    candidate = Candidate("c", optimizer, _HYPERPARAMETERS.get(optimizer, {}))
    workload = replace(_WORKLOAD, model=model, model_options=_OPTIONS.get(model, {}))
    return Trial(workload, candidate, "compare", 0, block_seeds(0, "compare", _WORKLOAD, 0))


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """List, for every training that starts, True if torch fills memory."""
    seen: list[bool] = []
    train = loop.train

    def noted(trial: Trial, context: Any) -> Any:
        assert torch.are_deterministic_algorithms_enabled()
        seen.append(torch.utils.deterministic.fill_uninitialized_memory)
        return train(trial, context)

    monkeypatch.setattr(loop, "train", noted)
    return seen


def test_known_models_and_optimizers_have_the_same_bits_with_and_without_filled_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled: list[bool]
) -> None:
    trials = [_trial(*pair) for pair in dict.fromkeys(_PAIRS)]
    trials += [replace(_trial("vit", "adam"), precision=mixed) for mixed in ("bf16", "fp16")]
    results = []
    fixed = Launch.make_deterministic
    for name in ("unfilled", "filled"):
        study = Study(tmp_path / name, *trials)
        assert study.run() == 0
        results.append(
            {
                (one.trial.images.model, one.trial.candidate.optimizer, one.trial.precision): (
                    one.state,
                    one.weights,
                    one.metrics,
                    [point.metrics for point in one.curve],
                )
                for one in study.outcomes()
            }
        )
        monkeypatch.setattr(
            Launch,
            "make_deterministic",
            lambda self, algorithms=True, **_: fixed(self, algorithms),
        )
    assert filled == [False] * len(trials) + [True] * len(trials)
    assert results[0] == results[1]
    assert {state for state, *_ in results[1].values()} == {"completed"}


_LEAKY = """
import torch

class Leaky(torch.nn.Module):
    def __init__(self, channels, size, classes):
        super().__init__()
        self.linear = torch.nn.Linear(channels * size * size, classes)
    def forward(self, images):
        return self.linear(images.flatten(1)) + 0 * torch.empty(10)[:1]

class Plain(torch.optim.SGD):
    pass
"""


@pytest.mark.parametrize("which", ["model", "optimizer"])
def test_memory_is_filled_for_code_that_we_do_not_know(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled: list[bool]
) -> None:
    (tmp_path / "my_leak.py").write_text(_LEAKY)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    trial = _trial("mlp", "adam")
    if which == "model":
        theirs = replace(trial, workload=replace(trial.images, model="my_leak:Leaky"))
    else:
        candidate = replace(
            trial.candidate, optimizer="my_leak:Plain", hyperparameters={"lr": 0.1}
        )
        theirs = replace(trial, candidate=candidate)
    study = Study(tmp_path / "study", theirs, trial)
    assert study.run() == 0
    assert filled == [True, False]
    states = [one.state for one in study.outcomes()]
    assert states == ["diverged" if which == "model" else "completed", "completed"]
