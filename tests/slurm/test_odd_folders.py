"""Folders with odd names on SLURM: trials run, or are refused before."""

import sys
from dataclasses import replace

import pytest
from odd_folders import COMMAND_RESULTS, ODD, finals, odd_project
from slurm_lab import ONE_A_TASK


def test_a_study_in_an_odd_folder_runs_and_its_jobs_print(lab, tmp_path):
    sweep, root = odd_project(tmp_path / ODD / "code"), tmp_path / ODD / "?#%20%A"
    sent = replace(lab, folder=sweep.parent)
    words = ("--root", root, "--backend", "slurm", "--site", lab.site())
    said = sent.call("run", sweep.name, *words)
    assert said.code == 0, said.err
    printed = sent.call("status", "odd", "--root", root, "--json").out
    assert finals(printed) == COMMAND_RESULTS
    assert "é☃ is printed" in sent.call("logs", "odd", "--root", root).out


@pytest.mark.parametrize(
    ("name", "keys"), [(r"AD\jdoe", {}), ("two\nlines", {}), ("a:b", {"image": "lab.sif"})]
)
def test_a_root_of_which_slurm_or_an_image_makes_another_is_refused(
    lab, small, tmp_path, name, keys
):
    root = tmp_path / name
    words = ("--backend", "slurm", "--site", lab.site(**keys), "--root", root)
    said = lab.call("submit", small, *words)
    assert said.code == 2, said.err
    assert "give --root another one" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (root / "small").exists()


def test_packages_on_the_pythonpath_of_a_node_that_are_called_like_ours_hide_nothing(
    lab, tmp_path
):
    for name in ("jobs", "slurm"):
        (tmp_path / "theirs" / name).mkdir(parents=True)
        (tmp_path / "theirs" / name / "__init__.py").write_text("raise ImportError('theirs')\n")
    setup = [f"export PYTHONPATH={tmp_path / 'theirs'}"]  # as a `module load` does
    lab.site(setup=setup, python=sys.executable)
    words = ("--site", tmp_path / "site.toml", "--set", "pack.at_least=1h")
    said = lab.call("submit", lab.write(ONE_A_TASK), *words)
    assert said.code == 0, said.err
    lab.await_results("small", 2)
