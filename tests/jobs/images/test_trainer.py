"""A training: the parts of its recipe by known answers, and going on to the bit."""

import io
from typing import Any

import pytest
import torch
from torch.nn import functional

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.schedule import resolve_schedule
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data
from jobs.images.data import Dataset, normalise
from jobs.images.splits import Block, tensor_digest
from jobs.images.trainer import Training
from jobs.ranks.launch import Launch

_OPTIONS = {"difficulty": 0.3, "images": 120, "classes": 4, "size": 8, "seed": 1}
_EVERYTHING: dict[str, Any] = {
    "model": "convnet",
    "model_options": {"dropout": 0.3},
    "augment": ("hflip", "crop"),
    "schedule": {"cosine": {"warmup": 0.2, "floor": 0.1}},
    "clip_norm": 0.5,
    "accumulate": 3,
    "label_smoothing": 0.1,
    "ema": 0.9,
    "no_decay": ("bias", "norm"),
}


def _dataset() -> Dataset:
    return data.load("synthetic", _OPTIONS, None)


def _trial(
    optimizer: str = "sgd", hyperparameters: Any = None, precision: str = "fp32", **fields: Any
) -> Trial:
    fields = {"model": "convnet", "epochs": 2, "global_batch": 50, "train_images": 100} | fields
    workload = ImageWorkload("w", "synthetic", dataset_options=_OPTIONS, **fields)
    candidate = Candidate("a", optimizer, hyperparameters or {"lr": 0.1})
    # The streams of the plain workload: what differs between two trainings is their recipe alone.
    seeds = block_seeds(0, "compare", ImageWorkload("seeds"), 0)
    return Trial(workload, candidate, "compare", 0, seeds, precision=precision)


def _training(trial: Trial) -> Training:
    return Training(trial, _dataset(), Launch())


def _never() -> bool:
    return False


def _trained(trial: Trial, steps: int) -> Training:
    training = _training(trial)
    training.advance(steps, _never)
    return training


def _weights(training: Training) -> torch.Tensor:
    return _flat(training.model)


def _flat(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_pause_is_asked_before_every_step_and_the_clock_goes_on() -> None:
    training = _training(_trial())
    paused_at = []

    def third() -> bool:
        paused_at.append(training.step)
        return training.step == 3

    training.advance(4, third)
    assert (training.step, paused_at) == (3, [0, 1, 2, 3])
    before = training.train_seconds
    assert before > 0
    training.advance(4, _never)
    assert (training.step, training.samples) == (4, 200)
    assert training.train_seconds > before


def test_every_step_has_the_learning_rate_of_its_share_of_the_budget() -> None:
    schedule = resolve_schedule({"linear": {"warmup": "1ep"}}, epochs=4)
    training = _training(_trial(epochs=4, schedule=schedule))
    rates = []
    for step in range(8):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.advance(step + 1, _never)
    by_hand = [0, 0.05, *(0.1 * (1 - (step - 2) / 6) for step in range(2, 8))]
    assert rates == pytest.approx(by_hand)


def test_averaged_weights_and_statistics_are_those_of_a_loop_by_hand() -> None:
    training = _training(_trial(model="resnet18", ema=0.8, epochs=2))
    assert training.evaluated_model is not training.model
    average: dict[str, torch.Tensor] = {}
    for step in range(1, 5):
        training.advance(step, _never)
        for name, value in training.model.state_dict().items():
            if value.is_floating_point():
                value = value.double()
                average[name] = 0.8 * average[name] + 0.2 * value if name in average else value
                average[name] = average[name].clone()
    averaged = training.evaluated_model.state_dict()
    assert any("running_mean" in name for name in average)
    for name, expected in average.items():
        assert torch.allclose(averaged[name].double(), expected, rtol=1e-4, atol=1e-6)
    current = training.model.state_dict()
    assert not torch.allclose(current["fc.weight"], averaged["fc.weight"], rtol=1e-3)


def test_the_averaged_model_is_the_one_that_is_scored() -> None:
    training = _trained(_trial(ema=0.9), 4)
    test = _dataset().test
    with torch.no_grad():
        logits = training.evaluated_model(normalise(test.images))
    expected = float(functional.cross_entropy(logits, test.labels))
    assert training.test().loss == pytest.approx(expected, rel=1e-5)
    plain = _trained(_trial(), 4)
    assert torch.equal(_weights(plain), _weights(training))
    assert plain.test().loss != pytest.approx(expected, rel=1e-5)
    assert plain.evaluated_model is plain.model


def test_clipping_shortens_the_gradient_to_the_norm_and_no_further() -> None:
    begin = _weights(_training(_trial()))
    whole, clipped, loose = (
        _weights(_trained(_trial(clip_norm=norm), 1)) - begin for norm in (None, 0.05, 1e3)
    )
    length = whole.norm() / 0.1  # of the gradient
    assert length > 0.1
    expected = whole * (0.05 / length)
    assert (clipped - expected).norm() <= 1e-3 * expected.norm()
    assert torch.equal(loose, whole)


def test_smoothed_labels_are_trained_on_and_not_scored_on() -> None:
    trial = _trial(label_smoothing=0.2)
    dataset = _dataset()
    block = Block(trial, dataset)
    chosen, model = block.order(0)[:50], block.initial_model()

    def loss(indices: torch.Tensor, smoothing: float) -> float:
        with torch.no_grad():
            logits = model(normalise(dataset.train.images[indices]))
        labels = dataset.train.labels[indices]
        return float(functional.cross_entropy(logits, labels, label_smoothing=smoothing))

    training = _training(trial)
    validation = block.split.validation
    assert validation is not None
    assert training.measure()["val_loss"] == pytest.approx(loss(validation, 0.0), rel=1e-5)
    training.advance(1, _never)
    assert training.measure()["train_loss"] == pytest.approx(loss(chosen, 0.2), rel=1e-5)
    assert loss(chosen, 0.2) != pytest.approx(loss(chosen, 0.0), rel=1e-4)


@pytest.mark.parametrize("accumulate", [2, 4, 7, 60])
def test_accumulation_takes_the_steps_of_the_whole_batch(accumulate: int) -> None:
    # 100 images in batches of 30: the last has 10, and fewer micro-batches.
    whole = _trained(_trial(global_batch=30), 4)
    parts = _trained(_trial(global_batch=30, accumulate=accumulate), 4)
    assert parts.samples == whole.samples == 100
    begin = _weights(_training(_trial()))
    expected, reached = _weights(whole) - begin, _weights(parts) - begin
    assert (reached - expected).norm() <= 1e-6 * _weights(whole).norm()
    assert (reached - expected).norm() <= 1e-4 * expected.norm()
    assert parts.measure()["train_loss"] == pytest.approx(whole.measure()["train_loss"])


def test_a_precision_that_this_version_does_not_know_is_not_trained_in_another() -> None:
    with pytest.raises(KeyError, match="fp8"):
        _trained(_trial(precision="fp8"), 1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_close_to_fp32_and_not_equal(precision: str) -> None:
    full, mixed = (_trained(_trial(precision=p, epochs=5), 10) for p in ("fp32", precision))
    assert mixed.model.classifier[1].weight.dtype == torch.float32
    expected, score = full.test(), mixed.test()
    assert score.loss != expected.loss
    assert score.loss == pytest.approx(expected.loss, rel=0.02)


def test_without_a_recipe_nothing_is_added_to_the_step() -> None:
    training = _training(_trial())
    dataset = _dataset()
    block = Block(training._trial, dataset)
    model = block.initial_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own overloads
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for chosen in block.order(epoch).split(50):
            optimizer.zero_grad()
            images = normalise(dataset.train.images[chosen])
            images = images.contiguous(memory_format=torch.channels_last)
            functional.cross_entropy(model(images), dataset.train.labels[chosen]).backward()
            optimizer.step()
    training.advance(4, _never)
    assert torch.equal(_weights(training), _flat(model))


def _saved(training: Training) -> bytes:
    written = io.BytesIO()
    torch.save({"training": training.state(), "random": torch.get_rng_state()}, written)
    return written.getvalue()


def _restored(trial: Trial, saved: bytes) -> Training:
    training = _training(trial)
    state = torch.load(io.BytesIO(saved), weights_only=True)
    training.restore(state["training"])
    torch.set_rng_state(state["random"])
    return training


def _course(training: Training) -> tuple[str, ...]:
    """Train to the end; return every curve point of the rest, and digests of all weights."""
    curve = []
    for step in range(training.step, training.steps + 1):
        training.advance(step, _never)
        curve.append(repr(training.measure()))
    weights = [tensor_digest(model.state_dict().values()) for model in _models(training)]
    return *curve[-3:], *weights, repr(training.test()), str(training.samples)


def _models(training: Training) -> list[Any]:
    return [training.model, training.evaluated_model]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("optimizer", "hyperparameters"),
    [("thermolion", {"lr": 1e-3}), ("lab:Lookahead", {"lr": 1e-3, "k": 2})],
)
def test_a_restored_training_goes_on_with_the_same_bits(
    optimizer: str, hyperparameters: Any, precision: str
) -> None:
    fields = _EVERYTHING | {"global_batch": 30, "epochs": 2}
    trial = _trial(optimizer, hyperparameters, precision, **fields)
    training = _training(trial)
    points = []
    for step in range(training.steps - 2):
        training.advance(step, _never)
        points.append(_saved(training))
        training.measure()
    expected = _course(training)
    for saved in points:
        assert _course(_restored(trial, saved)) == expected
    other = _trial(optimizer, hyperparameters, precision, **fields | {"clip_norm": 0.4})
    assert _course(_training(other)) != expected


def test_a_loss_that_is_summed_up_survives_a_restoration() -> None:
    trial = _trial(global_batch=30)
    whole = _trained(trial, 3)
    half = _trained(trial, 2)
    restored = _restored(trial, _saved(half))
    assert restored.train_seconds == half.train_seconds
    restored.advance(3, _never)
    assert restored.measure()["train_loss"] == whole.measure()["train_loss"]


def test_steps_that_the_scaler_skips_count_and_survive_a_restoration() -> None:
    fields = {"model": "lab:Loud", "schedule": resolve_schedule("cosine", 20), "epochs": 20}
    trial = _trial(precision="fp16", **fields)
    training = _training(trial)
    begin = _weights(training)
    training.advance(1, _never)
    assert torch.equal(_weights(training), begin)  # skipped
    assert training.optimizer.param_groups[0]["lr"] < 0.1  # and yet a step of the budget
    saved = _saved(training)
    expected = _course(training)
    assert _course(_restored(trial, saved)) == expected
    assert not torch.equal(_weights(training), begin)
