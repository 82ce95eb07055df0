"""A sweep whose `results` were wrong is corrected, and nothing is trained again."""

import json

from processes import wait_for

SWEEP = """\
study: s
workloads:
  - name: mine
    metric: acc
    unit: fraction
    command: python train.py --lr {lr} --seed {seed}
    results: {file: RESULTS}
candidates: {sgd: {lr: [0.1, 0.2]}}
seeds: 1
"""
SCRIPT = """\
import sys
open(RUNS, "a").write("x")
open("results.csv", "w").write("epoch,acc\\n1,0.25\\n2," + sys.argv[2] + "\\n")
"""


def test_results_that_could_not_be_read_are_read_without_training_again(
    thermolion, tmp_path, monkeypatch
):
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.chdir(code)
    (code / "train.py").write_text(SCRIPT.replace("RUNS", repr(f"{tmp_path}/runs.log")))
    sweep = code / "sweep.yaml"
    sweep.write_text(SWEEP.replace("RESULTS", "result.csv"))
    assert thermolion("submit", sweep).code == 0
    states = _await_end(thermolion, sweep)
    assert {one["state"] for one in states} == {"failed"}
    error = states[0]["error"]
    assert "no file matches 'result.csv'; the script has written results.csv" in error, error
    sweep.write_text(SWEEP.replace("RESULTS", "results.csv"))
    assert thermolion("retry", sweep).code == 0
    states = _await_end(thermolion, sweep)
    assert sorted(one["metrics"]["acc"] for one in states) == [0.1, 0.2]
    assert (tmp_path / "runs.log").read_text() == "xx"


def _await_end(thermolion, sweep):
    def states():
        return json.loads(thermolion("status", sweep, "--json").out)["trials"]

    wait_for(lambda: all(one["state"] in ("failed", "completed") for one in states()))
    return states()
