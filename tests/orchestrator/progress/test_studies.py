"""The studies of a root: listed, put away, taken out, removed."""

import json
import re
import subprocess
import sys

import pytest

from orchestrator.progress import studies


@pytest.fixture
def done(thermolion, small, layout):
    """The study `small`, all of it done."""
    assert thermolion("run", small).code == 0
    return layout


def _tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_study_is_listed_and_a_damaged_one_breaks_nothing(thermolion, done, tmp_path):
    root = done.root
    for name, text in (("torn", "study: [\n"), ("other", "study: small\n"), ("empty", "")):
        (root / name).mkdir()
        (root / name / "sweep.yaml").write_text(text)
    (root / "bare" / "submissions").mkdir(parents=True)
    said = thermolion("studies")
    assert said.code == 0, said.err
    lines = {line.split()[0]: line for line in said.out.splitlines()}
    assert set(lines) == {"small", "torn", "other", "empty", "bare"}
    assert "4 completed" in lines["small"]
    assert "ago" in lines["small"]
    for name in ("torn", "other", "empty", "bare"):
        assert "damaged" in lines[name]
    listed = {s["name"]: s for s in json.loads(thermolion("studies", "--json").out)}
    assert listed["small"]["states"] == {"completed": 4}
    assert listed["small"]["size_bytes"] == sum(map(len, _tree(done.folder).values()))
    assert listed["small"]["last_event_s"] >= 0
    assert "no studies" in thermolion("studies", "--root", tmp_path / "nowhere").out


def test_states_are_those_of_status(thermolion, small):
    longer = ["--set", "workloads.0.epochs=300", "--lanes", 1]
    thermolion("submit", small, *longer)
    alive = json.loads(thermolion("studies", "--json").out)[0]
    assert alive["jobs_alive"] > 0
    assert re.search(r"\b(1 job|[2-9] jobs) alive", thermolion("studies").out)
    thermolion("cancel", "small")
    listed = json.loads(thermolion("studies", "--json").out)[0]
    assert listed["states"] == json.loads(thermolion("status", "small", "--json").out)["counts"]


def test_a_list_loads_nothing_heavy(done):
    code = (
        "import sys; from orchestrator.cli.main import main; main(sys.argv[1:]); "
        "print({'torch', 'mlflow', 'scipy', 'numpy'} & set(sys.modules))"
    )
    heavy = subprocess.run(
        [sys.executable, "-P", "-c", code, "studies", "--root", str(done.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert heavy.stdout.endswith("set()\n")
    assert "4 completed" in heavy.stdout


def test_an_archived_study_comes_back_as_it_was(thermolion, done):
    before = _tree(done.folder)
    said = thermolion("studies", "--archive", "small")
    assert said.code == 0, said.err
    assert not done.folder.exists()
    assert (done.root / "archive" / "small.tar.gz").is_file()
    assert "archived" in thermolion("studies").out
    said = thermolion("status", "small")
    assert said.code == 2
    assert "'small' is archived: thermolion studies --restore small" in said.err
    assert thermolion("studies", "--restore", "small").code == 0
    assert _tree(done.folder) == before
    assert "4 completed" in thermolion("status", "small").out
    assert [p.name for p in done.root.iterdir() if p.name.startswith(".")] == []
    assert list((done.root / "archive").iterdir()) == []
    assert thermolion("studies", "--archive", "small").code == 0


def test_an_archive_that_does_not_hold_everything_removes_nothing(thermolion, done, monkeypatch):
    before = _tree(done.folder)
    real = studies._without_lock
    monkeypatch.setattr(
        studies,
        "_without_lock",
        lambda member, layout: None if "/events/" in member.name else real(member, layout),
    )
    said = thermolion("studies", "--archive", "small")
    assert said.code == 1
    assert "does not hold" in said.err
    assert _tree(done.folder) == before
    assert list((done.root / "archive").iterdir()) == []


def test_removing_asks_for_a_yes(thermolion, done):
    said = thermolion("studies", "--remove", "small")
    assert said.code == 2
    assert "--yes" in said.err
    assert done.folder.exists()
    assert thermolion("studies", "--remove", "small", "--yes").code == 0
    assert not done.folder.exists()
    assert done.mlflow_store.exists()


def test_nothing_is_moved_while_jobs_live_or_that_is_not_there(thermolion, small, layout):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    for action in (["--archive", "small"], ["--remove", "small", "--yes"]):
        said = thermolion("studies", *action)
        assert said.code == 2
        assert "are alive: thermolion cancel small" in said.err
    thermolion("cancel", "small")
    for option in ("--archive", "--restore", "--remove"):
        said = thermolion("studies", option, "../small")
        assert said.code == 2
        assert "choose from" in said.err
    thermolion("studies", "--archive", "small")
    layout.folder.mkdir()
    assert thermolion("studies", "--restore", "small").code == 2
