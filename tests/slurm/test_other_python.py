"""A command in a Python of its own, without thermolion and torch, on a node."""

from dataclasses import replace

from odd_folders import finals
from other_python import FINALS, make_project


def test_a_command_in_another_python_logs_from_a_node(lab, tmp_path):
    environment = tmp_path / "elsewhere"
    sweep = make_project(tmp_path / "code", f"{environment}/bin/python", environment)
    sent, root = replace(lab, folder=sweep.parent), tmp_path / "studies"
    words = ("--root", root, "--backend", "slurm", "--site", lab.site())
    said = sent.call("run", sweep.name, *words)
    assert said.code == 0, said.err
    assert finals(sent.call("status", "other", "--root", root, "--json").out) == FINALS
    assert f"runs in {environment}" in sent.call("logs", "other", "--root", root).out
