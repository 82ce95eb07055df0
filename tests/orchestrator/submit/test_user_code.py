"""The user's own code: found where the user is, never hidden or hiding without a word."""

import os
import subprocess
import sys
import zipfile

import pytest

from tracking.outcomes import read_outcomes

TRAIN = """\
from jobs.their_part import score

def train(trial, context):
    for step in range(3):
        context.log(step, score=score(step))
"""
OWN = """\
study: small
workloads: [{name: w, train: "tracking.their_train:train", metric: score}]
candidates: {adamw: {lr: 1e-2}}
seeds: 1
"""


@pytest.fixture
def project(small, tmp_path, monkeypatch):
    """A project with folders that are called like ours, one of which trains."""
    folder = tmp_path / "project"
    for name in ("jobs", "tracking", "slurm", "orchestrator"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('shadowed')\n")
    (folder / "jobs" / "their_part.py").write_text("def score(step):\n    return step / 10\n")
    (folder / "tracking" / "their_train.py").write_text(TRAIN)
    monkeypatch.chdir(folder)
    small.write_text(OWN)
    return folder


@pytest.mark.usefixtures("project", "as_for_everybody")
def test_folders_that_are_called_like_ours_hide_nothing(thermolion, small, layout):
    said = thermolion("run", small)
    assert said.code == 0, said.err
    (outcome,) = read_outcomes(layout.events).values()
    assert [point.metrics["score"] for point in outcome.curve] == [0.0, 0.1, 0.2]


def test_packages_on_pythonpath_that_are_called_like_ours_hide_nothing(project, small, layout):
    (project / "their_train.py").write_text(TRAIN)
    small.write_text(OWN.replace("tracking.their_train", "their_train"))
    elsewhere = project.with_name("elsewhere")
    project.rename(elsewhere)  # to be found by PYTHONPATH alone, but for the function
    project.mkdir()
    (elsewhere / "their_train.py").rename(project / "their_train.py")
    start = (
        "import sys; from thermolion.start import main; sys.exit(main())"  # as `thermolion` does
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "run", str(small), "--root", str(layout.root)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (outcome,) = read_outcomes(layout.events).values()
    assert [point.metrics["score"] for point in outcome.curve] == [0.0, 0.1, 0.2]


def test_what_is_called_like_ours_hides_nothing_in_an_empty_entry_nor_in_a_zip_file(
    project, small, layout
):
    with zipfile.ZipFile(project / "theirs.zip", "w") as theirs:
        theirs.write(project / "slurm" / "__init__.py", "slurm/__init__.py")
    start = "import sys; from thermolion.start import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "status", str(small), "--root", str(layout.root)],
        cwd=project,  # which `PYTHONPATH=$PYTHONPATH:…` names if there was none
        env=os.environ | {"PYTHONPATH": f":{project / 'theirs.zip'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 waiting" in done.stdout


@pytest.mark.parametrize(("file", "named"), [("lane.py", "lane.py"), ("images/data.py", "images")])
def test_a_module_of_the_same_name_is_refused_with_what_to_do(
    file, named, thermolion, small, project, layout
):
    (project / "jobs" / file).parent.mkdir(exist_ok=True)
    (project / "jobs" / file).write_text("")
    said = thermolion("submit", small)
    assert said.code == 2
    for words in (str(project / "jobs" / named), "rename it", "`command:`"):
        assert words in said.err
    assert not layout.submissions.exists()


@pytest.mark.usefixtures("project")
def test_nothing_of_a_project_stays_in_this_process(thermolion, small):
    before = list(sys.path)
    assert thermolion("submit", small).code == 0
    thermolion("cancel", "small")
    assert "tracking.their_train" not in sys.modules
    assert "jobs.their_part" not in sys.modules
    assert sys.path == before


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("tracking.no_such:train", "no module 'tracking.no_such'"),
        ("tracking.their_train:trane", "has no 'trane'"),
        ("tracking.their_train:__name__", "cannot be called"),
    ],
)
def test_a_training_that_cannot_be_imported_is_refused(train, expected, thermolion, small):
    said = thermolion("submit", small, "--set", f"workloads.0.train={train}")
    assert said.code == 2
    assert "workload 'w'" in said.err
    assert expected in said.err


@pytest.mark.usefixtures("project")
def test_a_command_that_does_not_exist_is_refused(thermolion, small):
    small.write_text(
        OWN.replace(
            'train: "tracking.their_train:train"', "command: 'no-such-program {lr} {seed}'"
        )
    )
    said = thermolion("submit", small)
    assert said.code == 2
    assert "'no-such-program'" in said.err


def test_a_model_that_torchvision_lacks_is_refused(thermolion, small):
    said = thermolion("submit", small, "--set", "defaults.model=torchvision:resnet_18")
    assert said.code == 2
    assert "resnet18" in said.err
