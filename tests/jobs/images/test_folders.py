"""Folders of images: what is read, in which order, and by how many processes."""

import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from processes import wait_for

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads import catalog
from jobs.contract.workloads.catalog import DataError
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data
from jobs.images.data import Dataset
from jobs.images.splits import tensor_digest
from jobs.images.trainer import Training
from jobs.ranks.launch import Launch

_SIZE = 8


def _draw(file: Path, seed: int) -> None:
    width, height = 9 + seed % 5, 9 + seed % 7
    pixels = numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), numpy.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes: 24 images of each to train on, 5 to test on, of many shapes."""
    folder = tmp_path / "pets"
    for part, count in (("train", 24), ("val", 5)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                _draw(folder / part / name / f"{number}.png", 100 * label + number + count)
    return folder


def _load(folder: Path, size: int = _SIZE) -> Dataset:
    return data.load(f"imagefolder:{folder}", {"size": size}, None)


def _trial(folder: Path, workers: int) -> Trial:
    workload = ImageWorkload(
        "pets",
        f"imagefolder:{folder}",
        "convnet",
        epochs=2,
        global_batch=9,
        accumulate=2,
        dataset_options={"size": _SIZE},
        model_options={"dropout": 0.2},
        augment=("hflip", "crop"),
        loader_workers=workers,
    )
    candidate = Candidate("a", "adamw", {"lr": 1e-3})
    return Trial(workload, candidate, "compare", 0, block_seeds(0, "compare", workload, 0))


def _course(training: Training) -> list[Any]:
    curve: list[Any] = []
    while training.step < training.steps:
        training.advance(training.step + 2, lambda: False)
        curve.append(training.measure())
    return [*curve[-2:], training.test(), tensor_digest(training.model.state_dict().values())]


def test_images_are_resized_by_the_shorter_side_and_cut_to_the_centre(pets: Path) -> None:
    dataset = _load(pets)
    assert (dataset.train.channels, dataset.train.size, dataset.classes) == (3, _SIZE, 2)
    assert (len(dataset.train), len(dataset.test)) == (48, 10)
    assert dataset.train.labels.tolist() == [0] * 24 + [1] * 24
    (images,) = dataset.train.batches([torch.tensor([30, 2])])
    names = sorted(str(number) for number in range(24))  # 0, 1, 10, 11, …
    for image, file in zip(images, (f"dog/{names[6]}", f"cat/{names[2]}"), strict=True):
        whole = Image.open(pets / "train" / f"{file}.png")
        scale = _SIZE / min(whole.size)
        shape = [int(side * scale) for side in whole.size]
        whole = whole.resize((shape[0], shape[1]), Image.Resampling.BILINEAR)
        left, top = (round((side - _SIZE) / 2) for side in shape)
        expected = numpy.array(whole.crop((left, top, left + _SIZE, top + _SIZE)))
        assert image.dtype == torch.uint8
        assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1))


def test_what_is_hidden_or_of_the_system_is_no_class_and_no_image(pets: Path) -> None:
    before = _load(pets)
    for name in (
        ".ipynb_checkpoints",
        "@eaDir",
        "__MACOSX",
        "cat/.ipynb_checkpoints",
        "dog/@eaDir",
    ):
        _draw(pets / "train" / name / "0.png", 7)
    _draw(pets / "val" / "dog" / "._0.png", 7)
    data._load.cache_clear()  # the folder is another now, under the same name
    catalog.check_present(f"imagefolder:{pets}", None)
    after = _load(pets)
    assert (after.classes, after.digest) == (before.classes, before.digest)
    assert after.train.labels.tolist() == before.train.labels.tolist()


def test_images_without_colours_get_three_channels(pets: Path) -> None:
    file = pets / "train" / "cat" / "0.png"
    Image.open(file).convert("L").save(file)
    (images,) = _load(pets).train.batches([torch.tensor([0])])
    assert torch.equal(images[0, 0], images[0, 2])


def test_the_test_part_is_test_and_else_val(pets: Path) -> None:
    before = _load(pets)
    for name in ("cat", "dog"):
        _draw(pets / "test" / name / "only.png", 7)
    assert len(before.test) == 10
    data._load.cache_clear()  # the folder is another now, under the same name
    assert len(_load(pets).test) == 2


def test_the_digest_follows_paths_and_sizes_but_not_the_place(pets: Path) -> None:
    def digest(folder: Path, size: int = _SIZE) -> str:
        data._load.cache_clear()
        return _load(folder, size).digest

    before = digest(pets)
    assert digest(pets, size=16) != before
    moved = pets.rename(pets.with_name("elsewhere"))
    assert digest(moved) == before
    file = moved / "train" / "cat" / "0.png"
    content = file.read_bytes()
    file.write_bytes(content + b"\0")
    assert digest(moved) != before
    file.write_bytes(content)
    assert digest(moved) == before
    file.rename(file.with_name("00.png"))
    assert digest(moved) != before


def test_any_number_of_processes_gives_the_same_bits(pets: Path) -> None:
    alone, helped = (
        _course(Training(_trial(pets, workers), _load(pets), Launch())) for workers in (0, 2)
    )
    assert alone == helped
    assert not multiprocessing.active_children()  # they end with what they read


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_goes_on_in_the_middle_of_an_epoch(pets: Path, workers: int) -> None:
    trial = _trial(pets, workers)
    training = Training(trial, _load(pets), Launch())
    assert training.steps_per_epoch == 5
    training.advance(3, lambda: False)
    training.measure()
    other = Training(trial, _load(pets), Launch())
    other.restore(training.state())
    random = torch.get_rng_state()
    expected = _course(training)
    fresh = Training(trial, _load(pets), Launch())
    fresh.advance(3, lambda: False)
    fresh.measure()
    torch.set_rng_state(random)
    assert _course(fresh) == expected


def test_signals_that_stop_a_lane_do_not_end_its_reading_processes(pets: Path) -> None:
    launch = Launch()
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    launch.stop.listen(signal.SIGTERM, signal.SIGINT)
    try:
        part = _load(pets).train
        chunks = torch.arange(48).split(4)
        expected = list(part.batches(chunks))
        batches = part.batches(chunks, 2)
        images = [next(batches)]
        readers = multiprocessing.active_children()
        assert len(readers) == 2
        pids = [str(reader.pid) for reader in readers]
        subprocess.run(["kill", "-TERM", *pids], check=True)  # as somebody else
        subprocess.run(["kill", "-INT", *pids], check=True)
        images += batches
        assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True))
        assert not launch.stop
        signal.raise_signal(signal.SIGTERM)
        assert launch.stop
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers, strict=True):
            signal.signal(number, handler)


def test_a_lane_ends_although_reading_processes_are_at_work(pets: Path) -> None:
    code = (
        "import torch\n"
        "from jobs.images import data\n"
        f"part = data.load({f'imagefolder:{pets}'!r}, {{'size': 8}}, None).train\n"
        "batches = part.batches(torch.arange(48).split(2), 2)\n"
        "next(batches)\n"
        "import builtins; builtins.kept = batches\n"
        "raise SystemExit(7)\n"
    )
    lane = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False
    )
    assert (lane.returncode, lane.stderr) == (7, "")


def test_reading_processes_do_not_outlive_a_lane_that_is_killed(pets: Path) -> None:
    code = (
        "import multiprocessing, time, torch\n"
        "from jobs.images import data\n"
        f"part = data.load({f'imagefolder:{pets}'!r}, {{'size': 8}}, None).train\n"
        "batches = part.batches(torch.arange(48).split(2), 2)\n"
        "next(batches)\n"
        "print(*(reader.pid for reader in multiprocessing.active_children()), flush=True)\n"
        "time.sleep(600)\n"
    )
    lane = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert lane.stdout is not None
    readers = [Path(f"/proc/{pid}/cmdline") for pid in lane.stdout.readline().split()]
    assert len(readers) == 2
    assert all(reader.read_bytes() for reader in readers)
    lane.kill()
    lane.wait()
    lane.stdout.close()
    wait_for(lambda: not any(_lives(reader) for reader in readers), seconds=30)


def _lives(cmdline: Path) -> bool:
    try:
        return bool(cmdline.read_bytes())  # nothing is left of it in a zombie
    except OSError:
        return False


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(pets: Path, workers: int) -> None:
    file = pets / "train" / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    part = _load(pets).train
    with pytest.raises(DataError, match=rf"image {file} cannot be read \(.*replace it"):
        list(part.batches(torch.arange(48).split(9), workers))
    assert not multiprocessing.active_children()


def _without_train(pets: Path) -> None:
    (pets / "train").rename(pets / "training")


def _without_test(pets: Path) -> None:
    (pets / "val").rename(pets / "validation")


def _without_classes(pets: Path) -> None:
    (pets / "train").rename(pets / "away")
    (pets / "train").mkdir()


def _unequal(pets: Path) -> None:
    (pets / "val" / "dog").rename(pets / "val" / "dogs")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_train, r"needs train/ and test/ \(or val/\).*, and has val; make them"),
        (_without_test, "and has train; make them"),
        (_without_classes, "no classes, .*train holds no folders; move the images"),
        (_unequal, "train lacks dogs; .*val lacks dog.; give both the same"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_before_a_start(
    damage: Any, message: str, pets: Path
) -> None:
    name = f"imagefolder:{pets}"
    catalog.check_present(name, None)
    damage(pets)
    with pytest.raises(DataError, match=message):
        catalog.check_present(name, None)
    with pytest.raises(DataError, match=message):
        _load(pets)


def test_a_class_without_images_is_refused(pets: Path) -> None:
    for part in ("train", "val"):
        (pets / part / "axolotl").mkdir()
    with pytest.raises(DataError, match=r"no valid file for the classes axolotl.* Add images"):
        _load(pets)


def test_a_relative_path_lies_below_the_data_root(pets: Path) -> None:
    catalog.check_present("imagefolder:pets", pets.parent)
    dataset = data.load("imagefolder:pets", {"size": _SIZE}, pets.parent)
    assert dataset.digest == _load(pets).digest
    with pytest.raises(DataError, match="no data root is given; write the whole path"):
        catalog.check_present("imagefolder:pets", None)
