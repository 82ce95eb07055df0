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
    error = _await_all(thermolion, sweep, "failed")[0]["error"]
    assert "no file matches 'result.csv'; the script has written results.csv" in error, error
    sweep.write_text(SWEEP.replace("RESULTS", "results.csv"))
    assert thermolion("retry", sweep).code == 0
    trials = _await_all(thermolion, sweep, "completed")
    assert sorted(one["metrics"]["acc"] for one in trials) == [0.1, 0.2]
    assert (tmp_path / "runs.log").read_text() == "xx"


def test_a_block_of_results_that_were_read_in_two_ways_is_flagged(
    thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT.replace("RUNS", "'/dev/null'"))
    sweep = tmp_path / "sweep.yaml"
    one_way = SWEEP.replace("RESULTS", "results.csv") + "baseline: sgd[lr=0.1]\n"
    sweep.write_text(one_way.replace("[0.1, 0.2]", "[0.1]").replace("[lr=0.1]", ""))
    assert thermolion("submit", sweep).code == 0
    _await_all(thermolion, sweep, "completed")
    sweep.write_text(one_way.replace("results.csv", "'*.csv'"))
    assert thermolion("submit", sweep).code == 0
    _await_all(thermolion, sweep, "completed")
    said = thermolion("compare", sweep)
    assert "Some blocks mix results that were read in different ways" in said.out, said


def _await_all(thermolion, sweep, state):
    """Wait until all trials are in a state and no job lives; return what `status` says of them.

    As long as a job lives, `retry` leaves its trials to it.
    """

    def status():
        return json.loads(thermolion("status", sweep, "--json").out)

    def is_reached():
        said = status()
        return {one["state"] for one in said["trials"]} == {state} and not said["jobs_alive"]

    wait_for(is_reached)
    return status()["trials"]
