"""Wrong input about the results of scripts: exit code 2 and one clear message, with the line."""

import json

import pytest

SWEEP = """\
study: s
workloads:
  - name: mine
    metric: acc
    {run}
    results: {results}
candidates:
  sgd: {{lr: [0.1, 0.2]}}
seeds: 2
"""
COMMAND = "command: python t.py --lr {lr} --seed {seed}"
CASES = {
    "nothing known": ("lightening", ["'lightening'", "did you mean 'lightning'?", "mlflow"]),
    "a file without its key": ("out.csv", ["'out.csv' is a file", "results: {file: out.csv}"]),
    "an unknown key": ("{line: 'acc {acc}'}", ["'line'", "did you mean 'lines'?", "file"]),
    "a key of another source": (
        "{file: a.csv, epoch: n}",
        ["unknown key of results from file 'epoch'", "file, step"],
    ),
    "none": ("[]", ["results is empty", "{file: results.csv}"]),
    "a number": ("3", ["3 is no source of results", "lines"]),
    "one source twice": ("[mlflow, mlflow]", ["names one source twice"]),
    "a regex that is none": (
        "{lines: '(?P<acc>[0-9.+'}",
        ["'(?P<acc>[0-9.+' is no regex", "unterminated", "Epoch {step}"],
    ),
    "a pattern without a metric": ("{lines: 'acc: '}", ["'acc: ' names no metric", "{step}"]),
    "a pattern with only a step": ("{lines: 'epoch {epoch}'}", ["no pattern names a metric"]),
    "a single brace": ("{lines: 'acc} {acc}'}", ["single '}'", "}}"]),
    "a name that is none": ("{lines: '{val acc}'}", ["{val acc} which is no name"]),
    "a name twice": ("{lines: '{acc} {acc}'}", ["{acc} twice"]),
    "a regex with a name twice": ("{lines: '(?P<acc>1)(?P<acc>2)'}", ["redefinition", "acc"]),
    "two steps in a pattern": ("{lines: '{step} {epoch} {acc}'}", ["both step and epoch", "{}"]),
    "two units of steps": (
        "{lines: ['{epoch} {acc}', 'step {step}']}",
        ["one pattern counts in steps and another in epochs"],
    ),
    "a step at the end": (
        "{lines: '{acc}', final: 'epoch {epoch} {best}'}",
        ["of final metrics, which have no epoch"],
    ),
    "no pattern": ("{lines: 5}", ["lines is 5", "write a pattern"]),
    "a metric that no pattern has": (
        "{lines: 'epoch {epoch} accu={accu}'}",
        ["unknown metric of the patterns in `results` 'acc'", "did you mean 'accu'?"],
    ),
    "a file of no known suffix": (
        "{file: out.txt}",
        ["file is 'out.txt'", "suffix", ".csv, .tsv, .json, .jsonl"],
    ),
    "a file without a name": ("{file: 5}", ["file is 5", "results.csv"]),
    "a column without a name": ("{file: a.csv, step: 5}", ["step is 5"]),
}


@pytest.mark.parametrize(("results", "needles"), CASES.values(), ids=CASES)
def test_results_that_cannot_be_read_are_refused_with_their_line(
    results, needles, thermolion, tmp_path
):
    _write(tmp_path, results)
    run = thermolion("plan", tmp_path / "sweep.yaml")
    assert run.code == 2, run.err
    (line,) = run.err.splitlines()
    assert "sweep.yaml, line 6: " in line or "sweep.yaml, line 3: " in line

    for needle in needles:
        assert needle in line, run.err


PATHS = {
    "/scratch/out.csv": ["every trial would read the same '/scratch/out.csv'", "{trial}"],
    "../out.csv": ["every trial would read the same '../out.csv'"],
    "{sate}/out.csv": ["unknown placeholder 'sate'", "did you mean 'state'?"],
    "{state/out.csv": ["single '{'"],
}


@pytest.mark.parametrize(("path", "needles"), PATHS.items(), ids=PATHS)
def test_a_path_that_is_not_of_one_trial_is_refused(path, needles, thermolion, tmp_path):
    _write(tmp_path, f"{{file: {path!r}}}")
    run = thermolion("plan", tmp_path / "sweep.yaml")
    assert run.code == 2, run.out
    for needle in needles:
        assert needle in run.err


@pytest.mark.parametrize("path", ["/scratch/{trial}/out.csv", "{state}/**/*.json", "o/out.csv"])
def test_a_path_of_one_trial_is_accepted(path, thermolion, tmp_path):
    _write(tmp_path, f"{{file: {path!r}}}")
    assert thermolion("plan", tmp_path / "sweep.yaml").code == 0


def test_a_function_has_no_results_to_be_read(thermolion, tmp_path):
    _write(tmp_path, "mlflow", "train: 'mine:train'")
    run = thermolion("plan", tmp_path / "sweep.yaml")
    assert run.code == 2
    assert "a function returns or logs its results" in run.err


def test_how_results_are_read_is_no_part_of_the_id_of_a_trial(thermolion, tmp_path):
    ids = []
    for results in ("{lines: 'acc {acc}'}", "[{file: 'o/*.json', step: n}, tensorboard]"):
        _write(tmp_path, results)
        run = thermolion("plan", tmp_path / "sweep.yaml", "--json")
        assert run.code == 0, run.err
        ids.append([trial["id"] for trial in json.loads(run.out)["trials"]])
    assert ids[0] == ids[1]


def _write(folder, results, run=COMMAND):
    (folder / "t.py").write_text("")
    (folder / "mine.py").write_text("def train(trial, context): ...\n")
    (folder / "sweep.yaml").write_text(SWEEP.format(run=run, results=results))
