"""A starter sweep: it runs as it is, every key that it offers is one, and no file is replaced."""

import re
import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples" / "as_they_are"
SCRIPT = """\
import argparse, pathlib

pathlib.Path("ran").touch()
parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", "-l", type=float, default=0.5)
parser.add_argument("--bs", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
for epoch in range(3):
    loss = args.learning_rate + args.seed / 2**40 + 1 / (1 + epoch)
    print(f"[{epoch + 1}/3] epoch {epoch} took {args.bs} s: val loss {loss:.6f}")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _uncommented(text: str) -> str:
    """Take away the sign before every key that is offered, but that of another backend."""
    lines = [line for line in text.splitlines() if "backend" not in line]
    return "\n".join(re.sub(r"^#( +)(?=(- )?\w+: )", r" \1", line) for line in lines)


@pytest.mark.parametrize("kind", ["images", "function", "command"])
def test_a_starter_is_planned_as_it_is_and_with_every_key_that_it_offers(
    kind, project, thermolion
):
    said = thermolion("init", *([] if kind == "images" else [kind]))
    assert said.code == 0
    assert "thermolion plan sweep.yaml, then thermolion run sweep.yaml" in said.out
    text = (project / "sweep.yaml").read_text()
    assert "study: project" in text
    assert thermolion("plan", "sweep.yaml").code == 0
    offered = _uncommented(text)
    assert len(offered.splitlines()) > 20
    assert sum(line.startswith("#") for line in offered.splitlines()) in (4, 5)  # sentences
    offered = offered.replace("\n  resources:", "\nresources:")
    if kind == "command":
        offered = offered.replace("{--lr}", "{--lr} {--epochs}")
    if kind == "function":
        offered = offered.replace(", args: {width: 128}", ", args: {depth: 128}")
    (project / "all.yaml").write_text(offered.replace("study: project", "study: all"))
    said = thermolion("plan", "all.yaml")
    assert said.code == 0, said.err


def test_a_starter_of_a_function_runs_with_the_function_that_comes_along(project, thermolion):
    thermolion("init", "function", "mine:fit", "--to", "first.yaml")
    assert "def fit(trial, context):" in (project / "mine.py").read_text()
    said = thermolion("run", "first.yaml", "--set", "seeds=2", "--set", "workloads.0.steps=20")
    assert said.code == 0, said.err
    assert "lion vs adamw" in said.out


def test_a_starter_of_a_script_has_its_options_and_lines_and_runs(project, thermolion):
    (project / "fit.py").write_text(SCRIPT)
    assert thermolion("init", "command", "fit.py").code == 0
    assert not (project / "ran").exists(), "the script was run"
    text = (project / "sweep.yaml").read_text()
    assert 'command: "python fit.py --learning-rate {lr} {--seed}"' in text
    assert "# It also takes --bs\n" in text
    assert 'lines: "[{}/3] epoch {epoch} took {} s: val loss {loss}"' in text
    assert "goal: min" in text
    said = thermolion("run", "sweep.yaml", "--set", "seeds=2")
    assert said.code == 0, said.err
    assert "second vs first" in said.out


FOUND = {
    "argparse_csv": ("--opt {optimizer} {--lr} {--seed}", "**/summary.csv", "eval_top1"),
    "mnist_loop": ("{--lr} {--seed}", "Test set: Average loss: {average_loss}", "accuracy"),
    "hydra": ("{lr=} {seed=}", "lines", "val_acc"),
    "hf_trainer": ("--learning_rate {lr} {--seed}", "results: huggingface", "eval_accuracy"),
    "lightning_cli": ("main.py", "results: lightning", "val_acc"),
    "mlflow_logging": ("{--eta0} {--seed}", "results: mlflow", "val_accuracy"),
    "shell": ("bash run.sh {lr} {seed}", "lines", "val_acc"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_script_takes_and_tells_is_found_in_its_text(name, project, thermolion):
    (script,) = [path for path in (EXAMPLES / name).iterdir() if path.suffix in (".py", ".sh")]
    shutil.copy(script, project)
    assert thermolion("init", "command", script.name).code == 0
    command, results, metric = FOUND[name]
    text = (project / "sweep.yaml").read_text()
    assert command in text
    assert results in text
    assert re.search(rf"^    metric: {metric} ", text, re.MULTILINE)
    assert thermolion("plan", "sweep.yaml").code == 0


def test_a_whole_command_is_taken_as_it_is_written(project, thermolion):
    command = "Rscript fit.R {--lr} {--depth} {seed}"
    assert thermolion("init", "command", command, "--to", "sub/r.yaml").code == 0
    text = (project / "sub" / "r.yaml").read_text()
    assert f'command: "{command}"' in text
    assert "first: {lr: 0.01, args: {depth: 0.01}}" in text
    assert thermolion("plan", "sub/r.yaml").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["function", "train.py"], ["'train.py' names no function", "init function train:train"]),
        (["function", "a b:c"], ["names no function", "module:function"]),
        (["command", "tarin.py"], ["no script 'tarin.py'", "'python train.py --lr {lr}'"]),
        (["command", "'"], ["cannot be split into words"]),
        (["picture"], ["choose from", "images", "function", "command"]),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    words, expected, project, thermolion
):
    said = thermolion("init", *words)
    assert said.code == 2
    for text in expected:
        assert text in said.err
    assert list(project.iterdir()) == []


def test_a_file_that_is_there_is_kept(project, thermolion):
    (project / "sweep.yaml").write_text("study: mine\n")
    said = thermolion("init", "function")
    assert said.code == 2
    assert "sweep.yaml is there already and is kept: write --to sweep-2.yaml" in said.err
    assert {path.name for path in project.iterdir()} == {"sweep.yaml"}
    assert (project / "sweep.yaml").read_text() == "study: mine\n"


def test_a_script_that_cannot_be_read_as_python_is_taken_by_name(project, thermolion):
    (project / "old.py").write_text("print 'python 2'\n")
    assert thermolion("init", "command", "old.py").code == 0
    assert "python old.py {--lr} {--seed}" in (project / "sweep.yaml").read_text()
