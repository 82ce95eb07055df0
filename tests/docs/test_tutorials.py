"""The tutorials do what they say."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from jobs.contract.layout import Layout
from orchestrator.sweep.site_profile import read_site
from orchestrator.sweep.sweep import read_sweep
from tracking.outcomes import read_outcomes

REPO = Path(__file__).parents[2]


def _blocks(page: str, language: str) -> dict[str, str]:
    """Return the titled blocks of a page in a language."""
    fence = re.compile(rf"^```{language} title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return dict(fence.findall((REPO / "docs" / page).read_text()))


def test_the_first_tutorial_ends_as_it_says(followed):
    said = followed.said
    assert "16 = 1 x 2 x 8" in said["thermolion plan first.yaml"]
    first = said["thermolion run first.yaml"]
    assert "10 of 10 trials done" in first
    assert "6 trials spared" in first
    assert "report.html" in first
    assert "10 completed, 6 spared" in said["thermolion status first"]
    later = said['thermolion plan first.yaml --set "seeds={looks: [5, 8, 12]}"']
    assert "for exploration only: seeds 8-11" in later
    again = said["thermolion run first --confirm first-again"]
    assert "10 of 16 trials to run" in again
    assert "this is number 1, at 0.025" in again
    assert (followed.study / "report" / "report.html").is_file()
    tables = said["thermolion export first --format csv"].split()
    assert [Path(table).name for table in tables] == ["trials.csv", "curves.csv"]
    outcomes = read_outcomes(Layout(followed.study.parent, "first").events).values()
    assert [outcome.state for outcome in outcomes] == ["completed"] * 10


def test_the_cells_of_the_notebook_run_on_any_study(followed):
    notebook = json.loads((REPO / "docs" / "notebook.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells), "it is to be read with what it has printed"
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert "studies/quickstart" in code
    done = subprocess.run(
        [sys.executable, "-P", "-c", code.replace("studies/quickstart", "studies/first")],
        cwd=followed.folder,
        env={"MPLBACKEND": "agg", "PATH": "", "HOME": str(followed.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_sweep_of_the_second_tutorial_is_that_of_the_first(tmp_path):
    read = {}
    for page, name in (("tutorial.md", "first.yaml"), ("tutorial-cluster.md", "second.yaml")):
        (tmp_path / name).write_text(_blocks(page, "yaml")[name])
        read[name] = read_sweep(tmp_path / name)
    first, second = read.values()
    assert (first.workloads, first.candidates) == (second.workloads, second.candidates)
    assert second.keys.backend == "slurm"


@pytest.mark.parametrize("name", ["modules", "conda", "apptainer", "image"])
def test_every_profile_of_a_site_is_taken(name, tmp_path):
    profile = tmp_path / f"{name}.toml"
    profile.write_text(_blocks("at-your-site.md", "toml")[f"{name}.toml"])
    site = read_site(str(profile))
    assert site.python == tomllib.loads(profile.read_text())["python"]


def test_a_data_set_as_the_page_on_extending_has_it_can_be_read(tmp_path, monkeypatch):
    from jobs.images.data import load

    (tmp_path / "my_lab").mkdir()
    for title, text in _blocks("extending.md", "python").items():
        (tmp_path / title).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_lab", "my_lab.data"):  # other tests have one of their own
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.delitem(sys.modules, name)
    read = load("my_lab.data:galaxies", {"size": 16}, None)
    assert (len(read.train), len(read.test), read.classes, read.train.size) == (200, 50, 2, 16)
