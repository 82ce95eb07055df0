"""What makes results those of other code: what a trial may import, run or open, nothing else."""

import subprocess

import pytest

from jobs.contract.code_files import NamedFiles, find_code

TRAIN = """\
from pathlib import Path

words = Path("vocab.txt").read_text()
for part in Path("parts").glob("*.dat"):
    words += part.read_text()
name = "b"
words += Path(f"lists/{name}.lst").read_text()
Path("results.json").write_text('[{"step": 1, "val": 0.5}]')
"""
FILES = {
    "train.py": TRAIN,
    "helper.py": "",
    "conf/model.yaml": "width: 3\nweights: start.bin\n",
    "setup.sh": "cp first.tsv x\n",
    "vocab.txt": "a b",
    "parts/1.dat": "c",
    "lists/b.lst": "d",
    "classes.csv": "e",
    "start.bin": "f",
    "first.tsv": "g",
    "tool": "#!/bin/sh\n",
    # What decides nothing.
    "notes.txt": "train.py is best",
    "README.md": "vocab.txt",
    "figure.png": "h",
    "results.json": "{}",
    "old.csv": "i",
    "LICENSE": "j",
    "mlruns/0/meta.yaml": "k: 1",
    "outputs/1/.hydra/config.yaml": "width: 3",
    "outputs/1/train.log": "l",
    "runs/events.out.tfevents.1": "m",
    "lightning_logs/version_0/hparams.yaml": "n: 1",
}
SWEEP = """\
study: small
workloads:
  - name: w
    command: python train.py {--lr} {--classes} {--seed}
    metric: val
    results: {file: results.json}
candidates: {adamw: {lr: 0.1, args: {classes: ./classes.csv}}}
seeds: 1
"""


def _write(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_notes_and_results_beside_a_script_are_not_code_and_what_it_opens_is(
    thermolion, small, tmp_path, monkeypatch
):
    folder = tmp_path / "code"
    _write(folder)
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "-q"], check=True)  # hidden folders travel as well
    small.write_text(SWEEP)
    assert thermolion("run", small).code == 0
    for name in list(FILES)[list(FILES).index("notes.txt") :]:
        (folder / name).write_text(FILES[name] + "edited")
    (folder / "more notes.txt").write_text("new")
    said = thermolion("rerun", "small", "--code-changed", "--dry-run")
    assert "the code has not changed" in said.out
    (folder / "parts" / "2.dat").write_text("")  # which `glob` will find
    said = thermolion("rerun", "small", "--code-changed", "--dry-run")
    assert "1 of 1 results are of other code" in said.out


@pytest.mark.parametrize("edited", list(FILES)[: list(FILES).index("notes.txt")])
def test_each_file_that_a_trial_may_read_is_code(tmp_path, edited):
    _write(tmp_path)
    named = NamedFiles(("python train.py", "./classes.csv"), ("results.json",))
    assert edited in dict(find_code(tmp_path, named))


def test_a_path_into_the_folder_of_a_logger_is_code_if_it_is_named(tmp_path):
    _write(tmp_path)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "best.pt").write_text("")
    (tmp_path / "wandb" / "other.pt").write_text("")
    (tmp_path / "helper.py").write_text('load("wandb/best.pt")\n')
    found = [name for name, _ in find_code(tmp_path, NamedFiles()) if name.startswith("wandb")]
    assert found == ["wandb/best.pt"]


def test_a_name_in_a_pattern_of_results_is_what_the_script_writes(tmp_path):
    (tmp_path / "train.py").write_text('open("out/3.csv", "w")\nopen("in.csv")\n')
    (tmp_path / "out").mkdir()
    for name in ("out/3.csv", "in.csv"):
        (tmp_path / name).write_text("")
    named = NamedFiles(written=("out/*.csv",))
    assert [name for name, _ in find_code(tmp_path, named)] == ["in.csv", "train.py"]


def test_a_path_that_a_script_is_told_to_write_to_is_none_that_it_reads(tmp_path):
    (tmp_path / "out.csv").write_text("")
    named = NamedFiles(("python train.py --out out.csv",), ("out.csv",))
    assert list(find_code(tmp_path, named)) == []


def test_words_of_a_source_that_look_like_patterns_make_no_file_code(tmp_path):
    (tmp_path / "fast.c").write_text("/*" + "*" * 80 + "x" + "*" * 80 + "*/ char *p, **ap;\n")
    (tmp_path / "run.sh").write_text('echo "*" *p; cat more*.ta?\n')
    for name in ("map", "zip", "more.tab"):
        (tmp_path / name).write_text("")
    found = [name for name, _ in find_code(tmp_path, NamedFiles())]
    assert found == ["fast.c", "more.tab", "run.sh"]
