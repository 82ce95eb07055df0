"""Results read from files that a script writes: CSV, TSV, JSON, JSON lines."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Study, curve, failure
from processes import wait_for
from script_results import reading, run

from jobs.contract.workloads.workload import MetricSpec
from jobs.ranks.launch import Launch

CSV = {"file": "results.csv"}
CURVE = {1: {"acc": 0.25, "loss": 2.0}, 2: {"acc": 0.5, "loss": 1.0}}
ROWS = [{"epoch": 1, "acc": 0.25, "loss": 2.0}, {"epoch": 2, "acc": 0.5, "loss": 1.0}]


def writing(name: str, text: str) -> str:
    return (
        f"import pathlib\npath = pathlib.Path({name!r})\n"
        f"path.parent.mkdir(parents=True, exist_ok=True)\npath.write_text({text!r})\n"
    )


SHAPES = {
    "CSV": ("r.csv", "epoch,acc,loss\n1,0.25,2\n2,0.5,1\n"),
    "CSV without an end": ("r.csv", "\ufeffepoch, acc, loss, note\n1, 0.25, 2, a\n2, 0.5, 1, b"),
    "CSV of semicolons": ("r.csv", "epoch;acc;loss\r\n1;0.25;2\r\n2;0.5;1\r\n"),
    "CSV without steps": ("r.csv", "acc,loss\n0.25,2\n0.5,1\n"),
    "CSV with rows of either metric": (
        "r.csv",
        "step,acc,loss\n1,,2\n1,0.25,\n2,,5\n2,,1\n2,0.5,None\n",
    ),
    "TSV": ("r.tsv", "loss\tepoch\tacc\n2\t1.0\t0.25\n1\t2.0\t0.5\n"),
    "JSON lines": ("r.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n"),
    "a JSON list": ("r.json", json.dumps(ROWS)),
    "a JSON list inside": ("r.json", json.dumps({"seed": 1, "history": ROWS, "name": "x"})),
    "JSON of columns": ("r.json", json.dumps({"acc": [0.25, 0.5], "loss": [2, 1]})),
    "a file a step": ("out/2.json", json.dumps(ROWS[1])),
}


@pytest.mark.parametrize(("name", "text"), SHAPES.values(), ids=SHAPES)
def test_every_shape_of_a_file_gives_the_same_curve(study: Study, name: str, text: str) -> None:
    script, pattern = writing(name, text), name
    if name == "out/2.json":
        script, pattern = script + writing("out/1.json", json.dumps(ROWS[0])), "out/*.json"
    events = run(study, script, {"file": pattern})
    assert events[-1].type == "completed", events[-1]
    points = curve(events)
    assert {s: {k: m[k] for k in ("acc", "loss")} for s, m in points.items()} == CURVE


def test_the_column_that_the_sweep_names_is_the_step_and_its_last_row_counts(
    study: Study,
) -> None:
    text = "step,epoch,acc\n10,1,0.1\n20,1,0.25\n30,2,0.4\n40,2,0.5\n"
    events = run(study, writing("results.csv", text), CSV | {"step": "epoch"})
    assert curve(events) == {1: {"step": 20.0, "acc": 0.25}, 2: {"step": 40.0, "acc": 0.5}}


def test_numbers_beside_no_rows_are_final_metrics(study: Study) -> None:
    script = writing("results.csv", SHAPES["CSV"][1])
    script += writing("final.json", json.dumps({"test": {"acc": 0.75}, "model": "mlp"}))
    spec = MetricSpec("acc", "test.acc")
    events = run(study, script, CSV, {"file": "final.json"}, spec=spec)
    assert events[-1].payload["metrics"] == CURVE[2] | {"test.acc": 0.75}


def test_two_trials_at_the_same_time_do_not_share_a_file(study: Study, tmp_path: Path) -> None:
    study.write("results.csv", "epoch,acc\n1,0.99\n")  # part of the code, of no trial
    study.write("conf/rate.txt", "7")
    study.write(
        "train.py",
        "import os, pathlib, sys, time\n"
        "assert pathlib.Path('conf/rate.txt').read_text() == '7'\n"
        "pathlib.Path('conf/own.txt').write_text(sys.argv[1])\n"
        "with open('results.csv', 'a') as file:\n"
        "    if not file.tell(): print('epoch,acc', file=file)\n"
        "    print('1', float(sys.argv[1]), sep=',', file=file)\n"
        f"    file.flush(); pathlib.Path({str(tmp_path)!r}, sys.argv[1]).touch()\n"
        f"    while not pathlib.Path({str(tmp_path)!r}, sys.argv[2]).exists(): time.sleep(0.01)\n",
    )
    trials = [
        replace(reading(CSV, command=f"python train.py 0.{own} 0.{other}"), block=own)
        for own, other in ((1, 2), (2, 1))
    ]
    ends = {}

    def train(position: int) -> None:
        other = Study.__new__(Study)
        other.layout, other.code, other.sent = study.layout, study.code, position
        other.launch = Launch()
        ends[position] = other.run_trial(trials[position])

    threads = [threading.Thread(target=train, args=(position,)) for position in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [curve(ends[position]) for position in (0, 1)] == [{1: {"acc": 0.1}}, {1: {"acc": 0.2}}]
    assert (study.code / "results.csv").read_text() == "epoch,acc\n1,0.99\n"
    assert not (study.code / "conf" / "own.txt").exists()
    assert list(study.layout.checkpoints.glob("*")) == []


def test_rows_are_logged_while_the_script_runs(study: Study, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = (
        "import pathlib, time\n"
        "file = open('results.csv', 'w')\n"
        "print('epoch,acc\\n1,0.25\\n2,0.5\\n3,0.', end='', file=file, flush=True)\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\n"
        "print('75', file=file, flush=True)\n"
    )
    log = study.layout.event_log("s1", 0, 0, 0)

    def open_once_heard() -> None:
        try:
            wait_for(lambda: log.exists() and b'"acc":0.25' in log.read_bytes(), 20)
        finally:
            gate.touch()

    watcher = threading.Thread(target=open_once_heard)
    watcher.start()
    events = run(study, script, CSV)
    watcher.join()
    assert curve(events) == {1: {"acc": 0.25}, 2: {"acc": 0.5}, 3: {"acc": 0.75}}
    first, *_, last = (e.payload["train_seconds"] for e in events if e.type == "evaluated")
    assert first < last


def test_a_row_that_is_not_finite_ends_the_trial(study: Study) -> None:
    events = run(study, writing("results.csv", "epoch,acc\n1,0.5\n2,nan\n"), CSV)
    assert events[-1].type == "diverged"


def test_a_file_in_the_state_folder_is_read_too(study: Study) -> None:
    script = "import sys\nopen(sys.argv[1] + '/r.csv', 'w').write('epoch,acc\\n1,0.25\\n2,0.5\\n')"
    events = run(study, script, {"file": "{state}/r.csv"}, command="python train.py {state}")
    assert curve(events) == {1: {"acc": 0.25}, 2: {"acc": 0.5}}


MISTAKES = {
    "no file": ("x.csv", "acc\n1\n", ["no file matches 'results.csv'", "has written x.csv"]),
    "no column": (
        "results.csv",
        "epoch,accuracy\n1,0.5\n",
        ["results.csv:1 has no column 'acc', it has epoch, accuracy"],
    ),
    "no rows": ("results.csv", "", ["no value of acc", "results.csv has no column 'acc'"]),
    "no number": (
        "results.csv",
        "epoch,acc\n1,0.5\n2,good\n",
        ["results.csv:3: acc is 'good', which is no number"],
    ),
    "no step": (
        "results.csv",
        "epoch,acc\n1,0.5\n1.5,0.6\n",
        ["results.csv:3: epoch is '1.5'", "name the column that has it by `step`"],
    ),
    "a step that comes back": (
        "results.csv",
        "epoch,acc\n1,0.5\n2,0.6\n1,0.7\n",
        ["two values of acc at step 1: 0.5 in results.csv:2, and 0.7 in results.csv:4"],
    ),
}


@pytest.mark.parametrize(("name", "text", "needles"), MISTAKES.values(), ids=MISTAKES)
def test_a_file_that_cannot_be_read_is_one_error_with_its_line(
    study: Study, name: str, text: str, needles: list[str]
) -> None:
    kind, error = failure(run(study, writing(name, text), CSV))
    assert kind == "UnreadResults"
    for needle in needles:
        assert needle in error


def test_a_step_column_that_is_not_there_names_the_columns(study: Study) -> None:
    script = writing("results.csv", "epoch,acc\n1,0.5\n")
    kind, error = failure(run(study, script, CSV | {"step": "batch"}))
    assert kind == "UnreadResults"
    assert "results.csv:1 has no column 'batch', which `step` names: it has acc, epoch" in error


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [("r.json", '{"acc": 1\n,}', "r.json:2"), ("r.jsonl", '{"acc": 1}\n{"acc"\n', "r.jsonl:2")],
)
def test_broken_json_is_one_error_with_its_line(
    study: Study, name: str, text: str, place: str
) -> None:
    kind, error = failure(run(study, writing(name, text), {"file": name}))
    assert kind == "UnreadResults"
    assert f"{place} is no JSON" in error


def test_two_sources_that_disagree_are_one_error_with_both_places(study: Study) -> None:
    script = writing("results.csv", "epoch,acc\n1,0.5\n2,0.6\n") + "print('2 acc 0.7')"
    lines = {"lines": ["{epoch} acc {acc}"]}
    kind, error = failure(run(study, script, CSV, lines))
    assert kind == "UnreadResults"
    assert "two values of acc at step 2" in error
    assert "0.6 in results.csv:3" in error
    assert "0.7 in line 1 of the output" in error
    agreeing = run(study, script.replace("0.7", "0.6"), CSV, lines)
    assert curve(agreeing) == {1: {"acc": 0.5}, 2: {"acc": 0.6}}


def test_nothing_is_lost_a_corrected_sweep_reads_what_is_kept_without_training(
    study: Study, tmp_path: Path
) -> None:
    script = (
        f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
        "import time\ntime.sleep(0.3)\n"
        "print('epoch 1 acc 0.5')\n" + writing("out/r.csv", "epoch,test_acc\n1,0.75\n")
    )
    spec = MetricSpec("acc", "test_acc")
    wrong = ({"lines": ["epoch {epoch} acc={acc}"]}, {"file": "r.csv"})
    right = ({"lines": ["epoch {epoch} acc {acc}"]}, {"file": "out/r.csv"})
    kind, error = failure(run(study, script, *wrong, spec=spec, code="a"))
    assert kind == "UnreadResults"
    assert "reads what is kept, without training" in error
    again = study.run_trial(reading(*right, spec=spec), code="a")
    assert again[-1].type == "completed"
    assert again[-1].payload["metrics"] == {"acc": 0.5, "test_acc": 0.75}
    assert again[-1].payload["train_seconds"] >= 0.3
    assert (tmp_path / "runs").read_text() == "x"
    assert list(study.layout.checkpoints.glob("*")) == []


def test_other_code_is_trained_again_and_finds_no_file_of_the_run_before(study: Study) -> None:
    trial = reading(CSV)
    study.write("train.py", writing("results.csv", "epoch,accuracy\n1,0.5\n"))
    assert failure(study.run_trial(trial, code="a"))[0] == "UnreadResults"
    study.write("train.py", "open('results.csv', 'a').write('epoch,acc\\n1,0.25\\n')")
    assert curve(study.run_trial(trial, code="b")) == {1: {"acc": 0.25}}
