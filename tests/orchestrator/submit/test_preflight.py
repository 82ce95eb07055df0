"""What is refused although the sweep is well-formed: absent data, code that cannot be imported."""

from pathlib import Path

import pytest


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
