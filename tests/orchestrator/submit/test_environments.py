"""A command in a Python of its own: it logs without an installed thermolion, wherever it lies."""

import json
import subprocess

import pytest
from odd_folders import finals
from other_python import FINALS, make_project

from jobs.contract.layout import Layout

WRITING = "open('r.json', 'w').write('[{\"step\": 1, \"val\": 0.75}]')"


@pytest.mark.parametrize("has_another_version", [False, True])
def test_a_command_in_another_python_logs_without_an_installed_thermolion(
    thermolion, tmp_path, monkeypatch, has_another_version
):
    environment = tmp_path / "elsewhere"
    sweep = make_project(tmp_path / "code", f"{environment}/bin/python", environment)
    if has_another_version:
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "thermolion.py").write_text("raise ImportError('another version')\n")
    monkeypatch.chdir(sweep.parent)
    said = thermolion("run", sweep)
    assert said.code == 0, said.err
    assert finals(thermolion("status", "other", "--json").out) == FINALS
    assert f"runs in {environment}" in thermolion("logs", "other").out


@pytest.mark.parametrize("in_git", [False, True])
def test_an_environment_among_the_code_is_found_by_a_command_and_is_not_copied(
    thermolion, tmp_path, layout, monkeypatch, in_git
):
    folder = tmp_path / "code"
    sweep = make_project(folder, "tools/env/bin/python", folder / "tools" / "env")
    monkeypatch.chdir(folder)
    if in_git:
        subprocess.run(["git", "init", "-q"], check=True)
    else:  # each trial in a working folder of its own
        sweep.write_text(
            sweep.read_text().replace("command:", "results: {file: r.json}, command:")
        )
        script = folder / "train.py"
        logging = script.read_text().replace("thermolion.log_final(val=0.75)", WRITING)
        script.write_text(logging.replace("thermolion.log(step, val=step / 4)", "pass"))
    said = thermolion("run", sweep)
    assert said.code == 0, said.err
    assert finals(thermolion("status", "other", "--json").out) == FINALS
    code = Layout(layout.root, "other").submission("0001") / "code"
    assert (code / "tools" / "env").is_symlink()
    assert not [path for path in code.rglob("*") if path.name == "pyvenv.cfg"]
    (trial, _) = json.loads(thermolion("status", "other", "--json").out)["trials"]
    here = thermolion("trial", trial["id"], "--study", "other", "--here")
    assert here.code == 0, here.err


@pytest.mark.parametrize("program", [".hidden/train.sh", "./build/train.sh", "../train.sh"])
def test_a_program_that_does_not_travel_is_refused_with_the_path_to_write(
    thermolion, tmp_path, layout, monkeypatch, program
):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / ".thermolionignore").write_text("build/\n")
    script = folder / program
    script.parent.mkdir(exist_ok=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(folder)
    (folder / "s.yaml").write_text(
        "study: small\n"
        f"workloads: [{{name: w, command: '{program} {{seed}}', metric: m}}]\n"
        "candidates: {one: {}}\nseeds: 1\n"
    )
    said = thermolion("run", "s.yaml")
    assert said.code == 2
    assert f"{program} is not copied" in said.err
    assert f"write its absolute path, {script.resolve()}" in said.err
    assert not layout.folder.exists()
