"""Which of the user's files travel with a submission, and that an edit changes no waiting job."""

import json
import subprocess

import pytest
from processes import event_logs, wait_for

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from orchestrator.submit import code_snapshot
from orchestrator.submit.code_snapshot import copy_code, list_code_files, read_commit
from orchestrator.sweep.document import SweepError
from tracking.outcomes import read_outcomes


@pytest.fixture
def project(tmp_path):
    """A project with what belongs to it and what does not, its studies inside."""
    files = {
        "train.py": "1",
        "lab/model.py": "2",
        "lab/weights.bin": "3",
        "lab/__pycache__/model.pyc": "4",
        ".cache/big": "5",
        ".venv/lib/x.py": "6",
        "node_modules/y.js": "7",
        "studies/s/sweep.yaml": "8",
        "studies/s/events/x.jsonl": "9",
        "out/a.txt": "10",
        "outside.txt": "11",
    }
    folder = tmp_path / "project"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "elsewhere.py").write_text("secret")
    (folder / "inside_link.py").symlink_to("train.py")
    (folder / "outside_link.py").symlink_to("../elsewhere.py")
    (folder / "broken_link.py").symlink_to("nowhere")
    return folder


def _files(project):
    return list_code_files(project, Layout(project / "studies", "s"))


def test_everything_travels_but_what_is_hidden_installed_or_recorded(project):
    assert _files(project) == [
        "inside_link.py",
        "lab/model.py",
        "lab/weights.bin",
        "out/a.txt",
        "outside.txt",
        "outside_link.py",
        "train.py",
    ]


def _copied(project, tmp_path):
    copy_code(project, _files(project), tmp_path / "copy")
    return tmp_path / "copy"


def test_links_travel_as_the_files_that_they_lead_to(project, tmp_path):
    copy = _copied(project, tmp_path)
    assert not (copy / "inside_link.py").is_symlink()
    assert (copy / "inside_link.py").read_text() == "1"
    assert (copy / "outside_link.py").read_text() == "secret"


@pytest.fixture
def linked(project, tmp_path):
    """The project with links to folders: within it, to one beside it, and one behind another."""
    shared = tmp_path / "shared"
    (shared / "deep").mkdir(parents=True)
    (shared / "deep" / "b.py").write_text("b")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.py").write_text("c")
    (shared / "more").symlink_to("../more")
    (project / "models").symlink_to("lab")
    (project / "shared").symlink_to("../shared")
    (project / ".cached").symlink_to("../more")
    (project / "results").symlink_to("studies")
    return project


@pytest.mark.parametrize("by_git", [False, True])
def test_linked_folders_travel_as_the_files_in_them(linked, tmp_path, by_git):
    if by_git:
        subprocess.run(["git", "init", "-q"], cwd=linked, check=True)
    copy = _copied(linked, tmp_path)
    found = {name: (copy / name).read_text() for name in ("models/model.py", "shared/deep/b.py")}
    assert found == {"models/model.py": "2", "shared/deep/b.py": "b"}
    assert (copy / "shared" / "more" / "c.py").read_text() == "c"
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    assert not (copy / ".cached").exists()
    assert not (copy / "results").exists()


def test_a_link_that_patterns_leave_out_is_not_followed(linked):
    (linked / "shared" / "round").symlink_to(".")
    (linked / ".thermolionignore").write_text("shared/\nmodels\n")
    assert not [name for name in _files(linked) if name.startswith(("shared", "models"))]


@pytest.mark.parametrize(("link", "target"), [("round", "."), ("lab/up", ".."), ("a", "../b")])
def test_a_link_to_a_folder_that_it_lies_in_is_refused(project, tmp_path, link, target):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "back").symlink_to("../b")
    (project / link).symlink_to(target)
    with pytest.raises(SweepError, match=r"is a link to .* that it lies in.*\.thermolionignore"):
        _files(project)


def test_a_link_to_a_folder_of_data_is_refused_with_what_to_do(project, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for number in range(20):
        (tmp_path / "images" / f"{number}.png").write_text("x")
    (project / "data").symlink_to("../images")
    monkeypatch.setattr(code_snapshot, "MOST_FILES", 10)
    with pytest.raises(SweepError, match=r"data is a link to .*images, a folder of more than 10 "):
        _files(project)
    monkeypatch.setattr(code_snapshot, "MOST_FILES", 100)
    monkeypatch.setattr(code_snapshot, "MOST_BYTES", 25)
    with pytest.raises(SweepError, match=r"data/ -> .*/images \(0\.0 MB, 20 files\)"):
        _files(project)


def test_a_file_of_patterns_leaves_out_more(project):
    (project / ".thermolionignore").write_text("# too large\n*.bin\nout/\n\nlab/mod*\n")
    assert _files(project) == [
        ".thermolionignore",
        "inside_link.py",
        "outside.txt",
        "outside_link.py",
        "train.py",
    ]


def test_patterns_are_those_of_a_gitignore(project):
    (project / ".thermolionignore").write_text("/*\n!/lab/\nmodel.py\n")
    assert _files(project) == ["lab/weights.bin"]


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_a_line_that_is_no_pattern_is_refused_by_its_number(project, pattern):
    (project / ".thermolionignore").write_text(f"*.bin\n{pattern}\n")
    with pytest.raises(SweepError, match=r"\.thermolionignore, line 2: .*no pattern"):
        _files(project)


def test_in_a_work_tree_git_says_what_belongs(project):
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / ".gitignore").write_text("out/\n*.bin\n")
    inner = project / "vendored"
    inner.mkdir()
    (inner / "part.py").write_text("1")
    (inner / "ignored.log").write_text("1")
    (inner / ".gitignore").write_text("*.log\n")
    subprocess.run(["git", "init", "-q"], cwd=inner, check=True)
    files = _files(project)
    assert {"train.py", "lab/model.py", "inside_link.py", "vendored/part.py"} <= set(files)
    left_out = {"out/a.txt", "lab/weights.bin", "vendored/ignored.log"}
    assert not left_out & set(files)
    assert not [name for name in files if name.startswith(("studies/", ".venv/", ".git/"))]


def test_studies_that_lie_beside_the_code_are_left_out(project):
    layout = Layout(project, "mine")
    for name in ("mine/events/x.jsonl", "other/sweep.yaml", "mlartifacts/x", "mlflow.db"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    names = list_code_files(project, layout)
    assert "train.py" in names
    assert not [n for n in names if n.startswith(("mine/", "other/", "ml"))]


def test_studies_below_other_roots_are_left_out(project):
    other = Layout(project / "out" / "r2", "s")  # with a copy of the code, and so of all roots
    copy = other.submissions / "0001" / "code" / "x.py"
    copy.parent.mkdir(parents=True)
    for path in (copy, other.folder / "sweep.yaml", other.mlflow_store):
        path.write_text("x")
    names = _files(project)
    assert [name for name in names if name.startswith("out/")] == ["out/a.txt"]


@pytest.mark.parametrize(("limit", "value"), [("MOST_BYTES", 1000), ("MOST_FILES", 5)])
def test_too_much_code_is_refused_with_the_largest_of_it(project, monkeypatch, limit, value):
    (project / "out" / "a.txt").write_text("x" * 2000)
    (project / "out" / "b.txt").write_text("x")
    monkeypatch.setattr(code_snapshot, limit, value)
    with pytest.raises(SweepError, match=r"largest: .*out/ .*\.thermolionignore"):
        _files(project)


def _pack(layout, submission, number=0):
    return Pack.from_json(json.loads(layout.pack(submission, number).read_text()))


TRAIN = """\
import time

def train(trial, context):
    state = context.load()
    for step in range(0 if state is None else state, 60):
        if context.should_save():
            context.save(step)
        if context.should_stop():
            return
        context.log(step, score=CODE)
        time.sleep(0.05)
"""
OWN = """\
study: small
workloads: [{name: w, train: "lab_of_snapshots:train", metric: score}]
candidates: {adamw: {lr: 1e-2}}
seeds: 1
"""


def test_a_resumed_trial_keeps_its_code_and_a_new_one_takes_what_is_there(
    thermolion, small, layout, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    small.write_text(OWN)
    code = tmp_path / "lab_of_snapshots.py"
    code.write_text(TRAIN.replace("CODE", "1.0"))
    assert thermolion("submit", small).code == 0
    code.write_text(TRAIN.replace("CODE", "2.0"))  # while the job is being started
    _until_logged(layout, "0001")
    thermolion("cancel", "small")
    (trial,) = read_outcomes(layout.events)
    assert layout.checkpoint(trial).exists()
    assert _pack(layout, "0001").code_root == layout.submission("0001") / "code"

    more = ["--set", "seeds=2", "--lanes", 1]
    assert "2 packs" in thermolion("submit", small, *more).out
    roots = {_pack(layout, "0002", number).code_root for number in (0, 1)}
    assert roots == {layout.submission(name) / "code" for name in ("0001", "0002")}
    _until_logged(layout, "0002")
    thermolion("cancel", "small")
    outcome = read_outcomes(layout.events)[trial]
    assert outcome.attempts == 2
    assert {point.metrics["score"] for point in outcome.curve} == {1.0}

    thermolion("submit", small, *more, "--new-code")
    thermolion("cancel", "small")
    roots = {_pack(layout, "0003", 0).code_root}
    assert roots == {layout.submission("0003") / "code"}


def _until_logged(layout, submission):
    wait_for(
        lambda: any(
            name.startswith(submission) and b'"evaluated"' in log
            for name, log in event_logs(layout).items()
        )
    )


def test_trials_without_code_of_the_user_copy_nothing(thermolion, small, layout):
    assert thermolion("submit", small, "--set", "candidates.more={optimizer: 'torch.optim:Rprop'}")
    thermolion("cancel", "small")
    assert not (layout.submission("0001") / "code").exists()
    assert _pack(layout, "0001").code_root is None


def test_the_commit_of_the_code_is_known_and_whether_it_was_edited(project):
    def git(*words):
        named = ["-c", "user.name=n", "-c", "user.email=n@x"]
        done = subprocess.run(
            ["git", *named, *words], cwd=project, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert read_commit(project) == (None, False)
    git("init", "-q")
    git("add", "train.py")
    git("commit", "-qm", "first")
    assert read_commit(project) == (git("rev-parse", "HEAD"), True)  # the rest is not in it
    (project / ".gitignore").write_text("*\n")
    assert read_commit(project) == (git("rev-parse", "HEAD"), False)
    (project / "train.py").write_text("edited")
    assert read_commit(project)[1]
