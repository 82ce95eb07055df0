"""The twelve readers, pixel for pixel against torchvision's own per-sample pipeline.

Eight sets are read from real files (`data_root`); for the rest, and for CIFAR-10's batches, tiny
files of random pixels are written in the layout that torchvision reads. Its md5 check, which only
the official files can pass, is then replaced by a look whether the file exists.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import scipy.io
import torch

from jobs.contract.workloads.catalog import DATASETS, DataError
from jobs.images import data, torchvision_import
from jobs.images.data import ImageSet

# Images of the parts that THERMOLION_DATA is to hold: train, test.
REAL = {
    "gtsrb": (1776, 600),
    "semeion": (1274, 319),
    "mnist": (10_000, 5_000),
    "fashion_mnist": (30_000, 10_000),
    "kmnist": (8_000, 2_000),
    "emnist_mnist": (8_000, 2_000),
    "usps": (7_291, 2_007),
    "cifar10": (4_000, 1_000),
}


def _random(*shape: int) -> Any:
    return numpy.random.default_rng(len(shape)).integers(0, 256, shape, dtype=numpy.uint8)


def _write_qmnist(root: Path) -> None:
    folder = root / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 20), ("test", 10)):
        labels = numpy.arange(8 * n, dtype=">i4").reshape(n, 8)
        labels[:, 0] = numpy.arange(n) % 10  # class; then series, writer and the like
        sizes = numpy.array([0x803, n, 28, 28], ">i4").tobytes()
        path = folder / f"qmnist-{part}-images-idx3-ubyte"
        path.write_bytes(sizes + _random(n, 28, 28).tobytes())
        sizes = numpy.array([0xC02, n, 8], ">i4").tobytes()
        (folder / f"qmnist-{part}-labels-idx2-int").write_bytes(sizes + labels.tobytes())


def _write_cifar(folder: Path, labels: str, classes: int, names: tuple[str, ...]) -> None:
    folder.mkdir()
    for name in names:
        record = {"data": _random(20, 3072), labels: [7 * i % classes for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(record))


def _write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    batches = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    _write_cifar(folder, "labels", 10, batches)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["name"] * 10}))


def _write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    _write_cifar(folder, "fine_labels", 100, ("train", "test"))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["name"] * 100}))


def _write_svhn(root: Path) -> None:
    for part, n in (("train", 20), ("test", 10)):
        labels = (numpy.arange(n, dtype=numpy.uint8) % 10 + 1).reshape(n, 1)  # 10 stands for 0
        arrays = {"X": _random(32, 32, 3, n), "y": labels}
        scipy.io.savemat(root / f"{part}_32x32.mat", arrays)


def _write_stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "unlabeled_X.bin").touch()
    for part, n in (("train", 20), ("test", 10)):
        (folder / f"{part}_X.bin").write_bytes(_random(n, 3, 96, 96).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(i % 10 + 1 for i in range(n)))


WRITTEN: dict[str, tuple[Callable[[Path], None], tuple[int, int]]] = {
    "qmnist": (_write_qmnist, (20, 10)),
    "cifar10": (_write_cifar10, (100, 20)),
    "cifar100": (_write_cifar100, (20, 20)),
    "svhn": (_write_svhn, (20, 10)),
    "stl10": (_write_stl10, (20, 10)),
}


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: str, _md5: str | None = None) -> bool:
        return Path(path).is_file()

    for module in ("cifar", "svhn", "stl10"):
        monkeypatch.setattr(
            getattr(torchvision_import.datasets, module), "check_integrity", exists
        )


def _samples(name: str, root: Path) -> tuple[Any, Any]:
    """Return the parts as a user of torchvision would make them; one part may be None."""
    sets, channels = torchvision_import.datasets, DATASETS[name].channels
    steps = torchvision_import.torchvision.transforms
    half = (0.5,) * channels
    pipeline = steps.Compose(
        [steps.Resize((32, 32)), steps.ToTensor(), steps.Normalize(half, half)]
    )
    flagged = {
        "mnist": sets.MNIST,
        "fashion_mnist": sets.FashionMNIST,
        "kmnist": sets.KMNIST,
        "qmnist": sets.QMNIST,
        "usps": sets.USPS,
        "cifar10": sets.CIFAR10,
        "cifar100": sets.CIFAR100,
    }
    if name in flagged:
        train, test = (flagged[name](root, train=f, transform=pipeline) for f in (True, False))
    elif name == "emnist_mnist":
        train, test = (
            sets.EMNIST(root, split="mnist", train=f, transform=pipeline) for f in (True, False)
        )
    else:
        kind = {"gtsrb": sets.GTSRB, "svhn": sets.SVHN, "stl10": sets.STL10}[name]
        train, test = (kind(root, split=s, transform=pipeline) for s in ("train", "test"))
    return train, test


def _assert_equal_to_the_bit(part: ImageSet, samples: Any, step: int = 1) -> None:
    assert len(part) == len(samples)
    for index in range(0, len(samples), step):
        image, label = samples[index]
        ours = data.normalise(part.images[index : index + 1])[0]
        assert ours.dtype == image.dtype == torch.float32
        assert torch.equal(ours, image), index
        assert int(part.labels[index]) == label, index


@pytest.mark.parametrize("name", list(REAL))
def test_a_real_set_has_the_sizes_and_classes_that_it_should(name: str, data_root: Path) -> None:
    dataset, spec = data.load(name, {}, data_root), DATASETS[name]
    train = dataset.train
    assert (len(dataset.train), len(dataset.test)) == REAL[name]
    assert (dataset.classes, train.channels, train.size) == (spec.classes, spec.channels, 32)
    assert len(torch.unique(dataset.train.labels)) == spec.classes
    assert (dataset.tracks is not None) == (name == "gtsrb")


@pytest.mark.parametrize("name", [name for name in REAL if name not in ("semeion", "cifar10")])
def test_real_pixels_equal_the_per_sample_pipeline(name: str, data_root: Path) -> None:
    dataset = data.load(name, {}, data_root)
    train, test = _samples(name, data_root)
    _assert_equal_to_the_bit(dataset.train, train, step=len(train) // 300)
    _assert_equal_to_the_bit(dataset.test, test, step=len(test) // 300)


@pytest.mark.parametrize("name", list(WRITTEN))
@pytest.mark.usefixtures("any_checksum")
def test_written_pixels_equal_the_per_sample_pipeline(name: str, tmp_path: Path) -> None:
    write, sizes = WRITTEN[name]
    write(tmp_path)
    dataset = data.load(name, {}, tmp_path)
    assert (len(dataset.train), len(dataset.test)) == sizes
    assert dataset.classes == DATASETS[name].classes
    assert dataset.train.channels == DATASETS[name].channels
    train, test = _samples(name, tmp_path)
    _assert_equal_to_the_bit(dataset.train, train)
    _assert_equal_to_the_bit(dataset.test, test)


def test_semeion_gives_up_a_fifth_and_keeps_its_order(data_root: Path) -> None:
    dataset = data.load("semeion", {}, data_root)
    steps = torchvision_import.torchvision.transforms
    pipeline = steps.Compose(
        [steps.Resize((32, 32)), steps.ToTensor(), steps.Normalize((0.5,), (0.5,))]
    )
    samples = torchvision_import.datasets.SEMEION(data_root, transform=pipeline, download=False)
    left = {"train": iter(range(len(dataset.train))), "test": iter(range(len(dataset.test)))}
    at = {name: next(indices) for name, indices in left.items()}
    for image, label in (samples[index] for index in range(len(samples))):
        for name, part in (("train", dataset.train), ("test", dataset.test)):
            index = at[name]
            same = index >= 0 and torch.equal(data.normalise(part.images[index]), image)
            if same and int(part.labels[index]) == label:
                at[name] = next(left[name], -1)
                break
        else:
            pytest.fail("an image of torchvision's set is in neither part, or out of order")
    assert set(at.values()) == {-1}


def test_the_archive_of_cifar10_is_read_unchanged(data_root: Path) -> None:
    dataset = data.load("cifar10", {}, data_root)
    with numpy.load(data_root / "cifar10.npz") as arrays:
        for name, part in (("train", dataset.train), ("test", dataset.test)):
            pixels = part.images.permute(0, 2, 3, 1).numpy()
            assert numpy.array_equal(pixels, arrays[f"x_{name}"])
            assert numpy.array_equal(part.labels.numpy(), arrays[f"y_{name}"])


def test_a_track_of_the_traffic_signs_is_its_class_and_number(data_root: Path) -> None:
    dataset = data.load("gtsrb", {}, data_root)
    assert len(torch.unique(dataset.tracks)) == 888
    assert torch.equal(torch.bincount(dataset.tracks), torch.full((888,), 2))
    files = sorted((data_root / "gtsrb" / "GTSRB" / "Training").glob("*/*.ppm"))
    seen: dict[tuple[str, str], int] = {}
    for path, track in zip(files, dataset.tracks.tolist(), strict=True):
        key = path.parent.name, path.name.split("_")[0]
        assert seen.setdefault(key, track) == track
    assert len(seen) == 888


def test_a_damaged_set_is_refused_with_the_next_step(tmp_path: Path) -> None:
    _write_svhn(tmp_path)  # not the official files, and their checksums are looked at
    with pytest.raises(DataError, match=r"'svhn' below .* fetch it again with --download"):
        data.load("svhn", {}, tmp_path)
    (tmp_path / "cifar10.npz").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"'cifar10' below .* cannot be read"):
        data.load("cifar10", {}, tmp_path)


def test_nothing_is_downloaded_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[bool] = []

    def fake(_root: Path, train: bool, download: bool) -> Any:
        downloads.append(download)
        images = numpy.zeros((10, 28, 28), numpy.uint8)
        return type("Fake", (), {"data": images, "targets": [int(train)] * 10})()

    monkeypatch.setattr(torchvision_import.datasets, "MNIST", fake)
    with pytest.raises(DataError, match="'mnist' is absent"):
        data.load("mnist", {}, tmp_path)
    with pytest.raises(DataError, match="no data root is given"):
        data.load("mnist", {}, None, download=True)
    assert downloads == []
    data.load("mnist", {}, tmp_path, download=True)
    assert downloads == [True, True]
    for file in DATASETS["mnist"].files[0]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    data.load("mnist", {}, tmp_path)
    assert downloads == [True, True, False, False]
