"""What is refused although the sweep is well-formed: absent data, code that cannot be imported."""

import struct
from pathlib import Path

import pytest
from PIL import Image


def test_a_study_that_does_not_exist_is_answered_with_those_that_do(thermolion, small):
    assert thermolion("submit", small, "--lanes", 1).code == 0
    thermolion("cancel", "small")
    said = thermolion("status", "smal")
    assert said.code == 2
    assert "did you mean 'small'?" in said.err.lower()


def test_a_data_root_that_does_not_exist_is_refused(thermolion, small, tmp_path):
    said = thermolion("run", small, "--data", tmp_path / "nowhere")
    assert said.code == 2
    assert str(tmp_path / "nowhere") in said.err
    assert "does not exist" in said.err
    assert not (tmp_path / "studies/small/submissions").exists()


def test_a_data_root_without_the_set_is_refused(thermolion, small, tmp_path, monkeypatch):
    monkeypatch.delenv("THERMOLION_DATA", raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for data in (["--data", empty], []):
        said = thermolion("run", small, "--set", "workloads.0.dataset=mnist", *data)
        assert said.code == 2
        for words in ("'mnist'", "MNIST/raw/train-images-idx3-ubyte", "--download"):
            assert words in said.err
        assert not (tmp_path / "studies/small/submissions").exists()


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("no_such_module:Thing", ["no_such_module", "module:name"]),
        ("torch.optim:Nothing", ["torch.optim:Nothing", "Nothing"]),
    ],
)
def test_an_optimizer_that_cannot_be_imported_is_refused(optimizer, expected, thermolion, small):
    said = thermolion("run", small, "--set", f"candidates.mine={{optimizer: '{optimizer}'}}")
    assert said.code == 2
    for words in ["'mine'", *expected]:
        assert words in said.err


def test_a_hyperparameter_that_a_users_optimizer_lacks_is_refused(thermolion, small):
    mine = "candidates.mine={optimizer: 'torch.optim:Adagrad', lr_dekay: 0.1}"
    said = thermolion("run", small, "--set", mine)
    assert said.code == 2
    for words in ("'mine'", "'lr_dekay'", "did you mean 'lr_decay'?"):
        assert words in said.err


def test_no_lanes_are_refused(thermolion, small):
    for verb in ("submit", "run", "plan"):
        said = thermolion(verb, small, "--lanes", 0)
        assert said.code == 2
        assert "--lanes" in said.err
        assert "0 is not between 1 and" in said.err


def test_the_file_that_is_not_there_is_named(thermolion):
    said = thermolion("plan", Path("sweeps/none.yaml"))
    assert said.code == 2
    assert "sweeps/none.yaml" in said.err


_FEW = """\
import torch

class Few:
    classes, test, tracks = 2, None, None

    def __init__(self, root):
        labels = torch.arange(100) % 2
        self.train = type("Part", (), {})()
        self.train.images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
        self.train.labels = labels
"""


def test_fewer_images_of_ones_own_than_asked_for_are_refused(
    thermolion, small, tmp_path, monkeypatch
):
    """Of 100 images a fifth is for tests, and a tenth of the rest for validation: 72 are left."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "few_images.py").write_text(_FEW)
    monkeypatch.chdir(folder)
    mine = ["--set", "workloads.0.dataset=few_images:Few", "--set", "workloads.0.name=mine"]
    said = thermolion("submit", small, *mine, "--set", "defaults.train_images=73")
    assert said.code == 2
    for words in ("'mine'", "train_images is 73", "has 72", "train_images: 72 or less"):
        assert words in said.err
    assert not (tmp_path / "studies/small/submissions").exists()
    proxy = "tune={trials: 2, proxy: {train_images: 73}, space: {'*': {lr: {log: [1e-4, 1e-1]}}}}"
    usual = "defaults={model: mlp, epochs: 1}"
    tuned = ["--set", proxy, "--set", usual, "--set", "candidates.adamw={}"]
    said = thermolion("submit", small, *mine, *tuned)
    assert "tune.proxy.train_images is 73" in said.err
    assert not (tmp_path / "studies/small/submissions").exists()
    assert thermolion("submit", small, *mine, "--set", "defaults.train_images=72").code == 0
    thermolion("cancel", "small")


def test_files_with_fewer_images_than_asked_for_are_refused(thermolion, small, tmp_path):
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_bytes(struct.pack(">ii", 2049, 200))
    mnist = ["--set", "workloads.0.dataset=mnist", "--data", tmp_path / "data"]
    said = thermolion("submit", small, *mnist)
    assert said.code == 2
    for words in ("'mnist'", "train_images is 256", "has 180", "leave it out"):
        assert words in said.err
    assert not (tmp_path / "studies/small/submissions").exists()


def test_a_folder_with_fewer_images_than_asked_for_is_refused(thermolion, small, tmp_path):
    for part, count in (("train", 20), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").touch()
            (folder / "notes.txt").touch()
    pets = f"workloads.0={{name: pets, dataset: 'imagefolder:{tmp_path}/pets', model: mlp}}"
    said = thermolion("submit", small, "--set", pets, "--set", "defaults.train_images=37")
    assert said.code == 2
    assert "'pets'" in said.err
    assert "has 36" in said.err


def test_files_that_are_no_images_are_named_before_anything_starts(
    thermolion, small, layout, tmp_path
):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "0.png")
            (folder / "._0.png").write_text("of a Mac")
            (folder / "notes.txt").touch()
    linked = tmp_path / "pets" / "train" / "dog"
    linked.rename(tmp_path / "dogs")
    linked.symlink_to(tmp_path / "dogs")
    pets = f"workloads.0={{name: pets, dataset: 'imagefolder:{tmp_path}/pets', model: mlp}}"
    words = ("submit", small, "--set", pets, "--set", "defaults.train_images=1")
    wrong = tmp_path / "pets" / "train" / "dog" / "1.jpg"
    wrong.write_text("<html>404</html>")
    said = thermolion(*words)
    assert said.code == 2
    assert (
        f"1 of 5 files that were looked at have the name of an image and are none ({wrong})"
        in (said.err)
    )
    assert not layout.submissions.exists()
    wrong.unlink()
    assert thermolion(*words).code == 0
    thermolion("cancel", "small")
