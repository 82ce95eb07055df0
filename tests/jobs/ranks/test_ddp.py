"""Trials of several ranks: the arithmetic of one process, and equal replicas."""

import dataclasses

import pytest
import torch
from lanes import result
from rank_lanes import Study
from rank_trials import LAB, PLAIN, WIDE, trial

from jobs.lane import EXIT_INTERRUPTED


def _losses(outcome):
    return torch.tensor([p.metrics["train_loss"] for p in outcome.curve if p.step])


RECIPES = {
    "plain": PLAIN,
    "of three samples": dataclasses.replace(PLAIN, global_batch=3, train_images=9, epochs=4),
    "accumulated": dataclasses.replace(
        PLAIN,
        accumulate=4,
        clip_norm=0.5,
        label_smoothing=0.1,
        augment=("hflip", "crop"),
        schedule={"linear": {"warmup": 0.2, "floor": 0.0}},
        model="convnet",
        model_options={"dropout": 0.0},
        ema=0.9,
    ),
}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Every recipe with 1, 2 and 4 ranks: by name and ranks, the outcome and what was seen."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "my_lab.py").write_text(LAB)
    outcomes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_FOLDER", str(folder))
        for ranks in (1, 2, 4):
            tags = {name: f"{number}-{ranks}" for number, name in enumerate(RECIPES)}
            trials = [
                trial(ranks, recipe, "my_lab:Seen", lr=0.1, tag=tags[name])
                for name, recipe in RECIPES.items()
            ]
            study = Study(folder / str(ranks), *trials, code_root=folder)
            study.run()
            for name, outcome in zip(RECIPES, study.outcomes(), strict=True):
                seen = [torch.load(folder / f"{tags[name]}-{rank}.pt") for rank in range(ranks)]
                outcomes[name, ranks] = outcome, seen
    return outcomes


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("recipe", RECIPES)
def test_ranks_take_the_steps_of_one_process(together, recipe, ranks):
    one, (alone,) = together[recipe, 1]
    several, seen = together[recipe, ranks]
    assert several.curve[-1].step == one.curve[-1].step, several.traceback  # both to the end
    expected, gradient = alone[0][0], seen[0][0][0]
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()
    assert len(_losses(one)) >= 10
    assert torch.allclose(_losses(several)[:10], _losses(one)[:10], rtol=0, atol=1e-4)
    assert several.started["digests"] == one.started["digests"]
    assert [point.samples for point in several.curve] == [point.samples for point in one.curve]
    assert several.curve[0].metrics["val_loss"] == pytest.approx(
        one.curve[0].metrics["val_loss"], rel=1e-6
    )


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("recipe", RECIPES)
def test_replicas_are_equal_to_the_bit_after_every_step(together, recipe, ranks):
    _, (first, *others) = together[recipe, ranks]
    assert len(first) == len(together[recipe, 1][1][0])
    for other in others:
        assert all(torch.equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


GATES = {
    "averaged, fp16": ("fp16", {"lr": 1e-3}),
    "replicas": ("fp32", {"lr": 1e-3, "gate": "replicas", "reference_batch": 13}),
    "local": ("fp32", {"lr": 1e-3, "gate": "local"}),  # every rank has moments of its own
}


def test_ranks_that_are_interrupted_end_with_the_same_bits(tmp_path):
    rich = dataclasses.replace(
        PLAIN, model_options=WIDE, accumulate=2, augment=("crop",), ema=0.9, global_batch=26
    )
    trials = [
        trial(3, rich, "thermolion", precision, **hyperparameters)
        for precision, hyperparameters in GATES.values()
    ]
    whole, broken = Study(tmp_path / "whole", *trials), Study(tmp_path / "broken", *trials)
    assert whole.run() == [0] * 3
    for one in trials:
        assert broken.run(trials=[one], stop_after=6) == [EXIT_INTERRUPTED] * 3
    assert broken.run() == [0] * 3
    for resumed, expected in zip(broken.outcomes(), whole.outcomes(), strict=True):
        assert result(resumed) == result(expected)
        assert (resumed.attempts, expected.attempts) == (2, 1)
