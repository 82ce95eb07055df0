"""Why commands fail: each cause once, with its count, an example and the next step."""

import pytest

SWEEP = """\
study: fails
workloads:
  - {name: mine, command: "sh fail.sh {lr} {seed}", metric: acc}
candidates: {adamw: {lr: [0.1, 0.2]}}
baseline: adamw[lr=0.1]
seeds: 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(folder)
    return folder


def test_a_cause_is_told_once_with_count_example_and_next_step(project, thermolion):
    (project / "fail.sh").write_text("echo reading\necho seed $2: no such table >&2\nexit 3\n")
    ran = thermolion("run", "sweep.yaml", "--lanes", 1)
    status = thermolion("status", "fails")
    for text in (ran.out, ran.err, status.out):
        assert text.count("no such table") == 1, text
    for text in (ran.err, status.out):
        assert "3 failed with ExitCode (adamw[lr=0." in text
        assert "ended with exit code 3; its last lines:" in text
        assert "3 held, because the first trials of the submission failed alike\n" in text
        assert "command.py" not in text, "the frames of a command's failure are ours"
    example = status.out.partition("for example ")[2][:16]
    assert f"thermolion logs fails {example}" in status.out
    assert f"thermolion logs sweep.yaml {example}" in ran.err
    assert "thermolion retry" in ran.err
    assert "thermolion retry" in status.out
    assert "mine, blocks 0-1: adamw[lr=0.1], adamw[lr=0.2] failed (seed" in ran.out
    assert "no such table), 3 trials in all\n" in ran.out
    assert "reading" in thermolion("logs", "fails", example).out


def test_commands_that_fail_for_different_causes_are_not_taken_for_one(project, thermolion):
    script = "case $1 in 0.1) echo disk 7 is full;; *) echo no such model;; esac; exit 1\n"
    (project / "fail.sh").write_text(script)
    thermolion("run", "sweep.yaml", "--lanes", 1, "--set", "seeds=2")
    status = thermolion("status", "fails").out
    assert "2 failed with ExitCode (adamw[lr=0.1] on mine)" in status
    assert "2 failed with ExitCode (adamw[lr=0.2] on mine)" in status
    assert "held, because" not in status
    assert [status.count(text) for text in ("disk 7 is full", "no such model")] == [1, 1]
