"""Checkpoints: whole or not at all, read without running code, generators to the bit."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.worker import checkpoint
from jobs.worker.checkpoint import Checkpoint, CheckpointError

FORMAT_1 = Path(__file__).with_name("checkpoint-v1.pt")


def _made(**changes):
    fields = {
        "trial": "ab" * 8,
        "generation": 2,
        "token": "cd" * 8,
        "step": 7,
        "logged": {"val_accuracy": 0.5},
        "seconds": 1.5,
        "rng": [checkpoint.rng_state()],
        "state": {"weights": torch.arange(3.0), "nested": [1, "two", None, (3.0,)]},
    }
    return Checkpoint(**(fields | changes))


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "checkpoints" / "a.pt"
    written = _made()
    checkpoint.write(path, written)
    kept = checkpoint.read(path, written.trial)
    assert torch.equal(kept.state["weights"], written.state["weights"])
    assert kept.state["nested"] == written.state["nested"]
    assert (kept.step, kept.seconds, kept.logged) == (7, 1.5, {"val_accuracy": 0.5})
    assert kept.attempt == written.attempt
    assert [file.name for file in path.parent.iterdir()] == ["a.pt"]


def test_without_a_file_there_is_no_checkpoint(tmp_path):
    assert checkpoint.read(tmp_path / "a.pt", "ab" * 8) is None


@pytest.mark.parametrize("how", ["torn in half", "one byte changed", "empty", "text"])
def test_a_damaged_checkpoint_counts_as_none(tmp_path, how, caplog):
    path = tmp_path / "a.pt"
    checkpoint.write(path, _made(state=torch.zeros(1000)))
    data = path.read_bytes()
    middle = data.index(bytes(400)) + 200
    damaged = {
        "torn in half": data[: len(data) // 2],
        "one byte changed": data[:middle] + b"\x01" + data[middle + 1 :],
        "empty": b"",
        "text": b"not a checkpoint",
    }
    path.write_bytes(damaged[how])
    assert checkpoint.read(path, "ab" * 8) is None
    assert "starts from its beginning" in caplog.text


def test_a_checkpoint_of_another_trial_or_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoint.write(path, _made())
    with pytest.raises(CheckpointError, match="belongs to trial"):
        checkpoint.read(path, "00" * 8)
    monkeypatch.setattr(checkpoint, "VERSION", 0)
    with pytest.raises(CheckpointError, match="upgrade"):
        checkpoint.read(path, "ab" * 8)


def test_a_checkpoint_of_format_1_is_still_read():
    kept = checkpoint.read(FORMAT_1, "0123456789abcdef")
    assert kept.step == 7
    assert kept.logged == {"val_accuracy": 0.5}
    assert torch.equal(kept.state["weights"], torch.arange(3.0))
    checkpoint.restore_rng(kept.rng[0])
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    assert drawn == (0.8444218515250481, 0.5488135039273248, 0.49625658988952637)


def test_all_generators_continue_from_a_saved_state():
    random.gauss(0, 1), np.random.normal(), torch.rand(3)
    state = checkpoint.rng_state()
    checkpoint.check_plain(state)

    def draw():
        return random.gauss(0, 1), np.random.normal(), torch.rand(3).tolist()

    first = draw()
    draw()
    checkpoint.restore_rng(state)
    assert draw() == first


class _Own:
    pass


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"model": _Own()}, r"state\['model'\] is of type .*_Own"),
        ([1, np.float64(2)], r"state\[1\] is of type numpy.float64"),
        ({"a": {"b": np.zeros(2)}}, r"state\['a'\]\['b'\] is of type numpy.ndarray"),
        ({_Own(): 1}, "a key of state"),
    ],
)
def test_a_value_that_could_not_be_read_back_is_refused_with_its_place(state, place):
    with pytest.raises(TypeError, match=place):
        checkpoint.check_plain(state)


def test_on_a_full_disk_the_last_checkpoint_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoint.write(path, _made(step=1))

    def full(*_arguments):
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="cannot be written"):
        checkpoint.write(path, _made(step=2))
    monkeypatch.undo()
    assert checkpoint.read(path, "ab" * 8).step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
