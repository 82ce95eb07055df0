"""Decoded sets: the sets that need no files, a user's own, resizing and normalising."""

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from jobs.contract.workloads.catalog import DataError
from jobs.images import data, readers, torchvision_import
from jobs.images.data import Dataset
from jobs.images.readers import resize


def _synthetic(**options: Any) -> Dataset:
    return data.load("synthetic", options, None)


def _nearest_template_accuracy(dataset: Dataset) -> float:
    train, test = (p.images.flatten(1).float() for p in (dataset.train, dataset.test))
    labels = dataset.train.labels
    means = torch.stack([train[labels == c].mean(0) for c in range(dataset.classes)])
    guesses = torch.cdist(test, means).argmin(1)
    return float((guesses == dataset.test.labels).double().mean())


def test_digits_hold_every_image_of_scikit_learn_without_loss() -> None:
    dataset = data.load("digits", {}, None)
    assert dataset.train.images.shape == (1438, 1, 8, 8)
    assert dataset.test.images.shape == (359, 1, 8, 8)
    assert (dataset.classes, dataset.train.channels, dataset.train.size) == (10, 1, 8)
    images = torch.cat((dataset.train.images, dataset.test.images))
    labels = torch.cat((dataset.train.labels, dataset.test.labels))
    bunch = load_digits()
    ours = [(i.numpy().tobytes(), int(c)) for i, c in zip(images // 15, labels, strict=True)]
    theirs = [
        (i.astype(numpy.uint8).tobytes(), int(c))
        for i, c in zip(bunch.images, bunch.target, strict=True)
    ]
    assert int((images % 15).max()) == 0
    assert sorted(ours) == sorted(theirs)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match="scikit-learn, which is missing here: pip install"):
        readers.digits(None)


def test_the_held_out_fifth_is_stratified() -> None:
    dataset = data.load("digits", {}, None)
    whole = torch.bincount(torch.from_numpy(load_digits().target))
    held_out = torch.bincount(dataset.test.labels)
    assert float((held_out - whole / 5).abs().max()) < 1


def test_digests_identify_the_content() -> None:
    digests = {_synthetic(seed=seed).digest for seed in (0, 1, 2)}
    assert len(digests) == 3
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)
    # Known answers: another digest means other data on some node, or after some change.
    assert data.load("digits", {}, None).digest == "cf72c358946655f9"
    assert _synthetic().digest == "6a5a55efa7db7036"


def test_synthetic_images_have_the_shape_that_is_asked_for() -> None:
    dataset = _synthetic(images=100, classes=4, size=8)
    assert dataset.train.images.shape == (100, 1, 8, 8)
    assert dataset.test.images.shape == (25, 1, 8, 8)
    assert torch.bincount(dataset.train.labels).tolist() == [25] * 4


def test_synthetic_difficulty_runs_from_trivial_to_chance() -> None:
    accuracies = [_nearest_template_accuracy(_synthetic(difficulty=d)) for d in (0, 0.5, 1)]
    assert accuracies[0] == 1
    assert 0.6 < accuracies[1] < 0.99
    assert 0.05 < accuracies[2] < 0.15


def test_no_synthetic_test_image_is_a_training_image() -> None:
    dataset = _synthetic()
    train = {image.numpy().tobytes() for image in dataset.train.images}
    assert len(train) == 2000
    assert not train & {image.numpy().tobytes() for image in dataset.test.images}


@pytest.mark.parametrize("options", [{"difficulty": 1.5}, {"images": 3}, {"classes": 0}])
def test_synthetic_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(options))):
        _synthetic(**options)


def test_a_set_is_decoded_once_and_leaves_the_global_generators_alone() -> None:
    state, numbers = torch.get_rng_state(), numpy.random.get_state()[1].copy()
    first = _synthetic(seed=99)
    assert _synthetic(seed=99) is first
    assert torch.equal(torch.get_rng_state(), state)
    assert numpy.array_equal(numpy.random.get_state()[1], numbers)


def test_a_set_can_be_moved() -> None:
    dataset = _synthetic().to("meta")
    assert dataset.train.images.device.type == dataset.test.labels.device.type == "meta"


def test_normalise_equals_to_tensor_and_normalize_for_every_value() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    steps = torchvision_import.torchvision.transforms
    pipeline = steps.Compose([steps.ToTensor(), steps.Normalize((0.5,), (0.5,))])
    assert torch.equal(data.normalise(values)[0], pipeline(Image.fromarray(values[0, 0].numpy())))


@pytest.mark.parametrize("before", [1, 2, 7, 8, 16, 28, 31, 32, 33, 47, 64, 96, 255])
def test_resizing_equals_pillow_to_the_bit(before: int) -> None:
    generator = torch.Generator().manual_seed(before)
    shape = (10, 3, before, before)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    images[:5] = images[:5] // 128 * 255  # black and white reach the limits of the range
    for size in (8, 32):
        expected = [_pillow(image, size) for image in images]
        assert torch.equal(resize(images, size), torch.stack(expected))


def _pillow(image: Tensor, size: int) -> Tensor:
    transform = torchvision_import.torchvision.transforms.Resize((size, size))
    resized = transform(Image.fromarray(image.permute(1, 2, 0).numpy()))
    return torch.from_numpy(numpy.array(resized)).permute(2, 0, 1)


def test_resizing_many_images_equals_resizing_each() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    whole = resize(images, 32)
    assert torch.equal(whole[4090:4100], resize(images[4090:4100], 32))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_data.py").write_text(
        "from types import SimpleNamespace as Record\n"
        "import numpy\n"
        "def galaxies(root, n=20, channels=3, label=0, held=False, kind='uint8', tracks=None):\n"
        "    images = numpy.zeros((n, channels, 6, 6), kind)\n"
        "    part = Record(images=images, labels=[label] * n)\n"
        "    test = None if held else part\n"
        "    return Record(train=part, test=test, classes=2, tracks=tracks, root=root)\n"
        "def nothing(root):\n"
        "    return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("lab")
def test_a_users_own_set_needs_no_class_of_ours() -> None:
    dataset = data.load("lab_data:galaxies", {"n": 10}, None)
    assert dataset.train.images.shape == dataset.test.images.shape == (10, 3, 6, 6)
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.tracks is None


@pytest.mark.usefixtures("lab")
def test_a_users_own_set_without_a_test_part_gives_up_a_fifth() -> None:
    dataset = data.load("lab_data:galaxies", {"held": True, "tracks": list(range(20))}, None)
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert len(dataset.tracks) == 16


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lab_data:nothing", {}, "returned int, which lacks"),
        ("lab_data:galaxies", {"kind": "float32"}, "images torch.float32"),
        ("lab_data:galaxies", {"label": 2}, "labels 2 to 2, of 2 classes"),
        ("lab_data:galaxies", {"n": 0}, "labels none"),
        ("lab_data:galaxies", {"tracks": [1, 2]}, "20 training images, 2 tracks"),
    ],
)
def test_a_users_reader_that_breaks_the_protocol_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        data.load(name, options, None)
