"""Whatever stops a study half-way: signals, dead processes, pools out of reach."""

import json
import os
import signal

from processes import event_logs, pids, start, wait_for

from orchestrator.backends.records import read_pack, read_submissions
from tracking.mlflow_store.store import open_store
from tracking.outcomes import read_outcomes


def test_ctrl_c_stops_cleanly_and_run_takes_it_up_again(thermolion, small, layout, warm):
    longer = ["--set", "workloads.0.epochs=400", "--set", "seeds=1"]
    run = start("run", small, *longer, root=layout.root, python=warm)
    wait_for(lambda: any(b'"evaluated"' in log for log in event_logs(layout).values()))
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "take it up again" in err
    assert "Traceback" not in err
    assert not pids(layout)
    states = {outcome.state for outcome in read_outcomes(layout.events).values()}
    assert "running" not in states
    assert "interrupted" in states

    again = thermolion("run", small, *longer, "--set", "workloads.0.epochs=400")
    assert again.code == 0, again.err
    outcomes = read_outcomes(layout.events).values()
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert not any(outcome.nondeterministic for outcome in outcomes)


def test_ctrl_c_while_jobs_are_being_started_leaves_nothing_running(small, layout, warm):
    longer = ["--set", "workloads.0.epochs=2000"]
    run = start("run", small, *longer, root=layout.root, python=warm)
    wait_for(layout.submission("0001").exists)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    wait_for(lambda: not pids(layout) and not pids(layout, "backends.pool"), 20)


def test_submit_returns_and_a_second_submit_sends_nothing_twice(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=100"]
    assert "4 trials in" in thermolion("submit", small, *longer).out
    assert "0 of 4 trials are done, 4 under way" in thermolion("submit", small, *longer).out
    assert "queued" in thermolion("status", "small").out
    assert "1 submission stopped" in thermolion("cancel", "small").out
    assert not pids(layout)
    assert "no job of this study is alive" in thermolion("cancel", "small").out


def test_a_killed_lane_is_lost_and_sent_again(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=400", "--set", "seeds=1", "--lanes", 1]
    thermolion("submit", small, *longer)
    wait_for(lambda: any(b'"evaluated"' in log for log in event_logs(layout).values()))
    for worker in pids(layout):
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "lost" in thermolion("status", "small").out)
    assert thermolion("collect", small, *longer[:4]).code == 0
    assert _statuses(layout) == {"KILLED"}
    again = thermolion("run", small, *longer)
    assert again.code == 0, again.err
    assert len(read_submissions(layout)) == 2
    assert {o.state for o in read_outcomes(layout.events).values()} == {"completed"}
    assert _statuses(layout) == {"FINISHED"}


def _statuses(layout):
    """Return how the runs of trials stand in MLflow."""
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("small")
        found = store.client.search_runs([experiment.experiment_id])
    return {run.info.status for run in found if "thermolion.trial" in run.data.tags}


def test_a_trial_that_kills_its_process_starves_no_neighbour(
    thermolion, small, tmp_path, monkeypatch
):
    (tmp_path / "my_hard_lab.py").write_text(
        "import os, torch\n"
        "class Hard(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        os._exit(9)\n"
    )
    monkeypatch.chdir(tmp_path)
    hard = ["--set", "candidates.hard={optimizer: 'my_hard_lab:Hard', lr: 0.1}", "--lanes", 1]
    first = thermolion("run", small, *hard)
    assert first.code == 1
    assert "exit code 9" in thermolion("logs", "small").out
    assert thermolion("run", small, *hard).code == 1
    status = thermolion("status", "small").out
    assert "4 completed, 2 lost" in status


def _read_carried(layout, name):
    """Return the ids of the trials of a submission."""
    (one,) = (one for one in read_submissions(layout) if one.id == name)
    packs = (read_pack(layout, name, number) for number in range(one.packs))
    return {trial.id for pack in packs for trial in pack.trials}


def test_a_pool_of_another_host_is_left_alone(thermolion, small, layout):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    record = layout.submission("0001") / "pool.json"
    pool = json.loads(record.read_text())
    record.write_text(json.dumps(pool | {"host": "elsewhere"}))
    said = thermolion("cancel", "small")
    assert said.code == 1
    assert "runs on elsewhere" in said.err
    assert pids(layout) or "queued" in thermolion("status", "small").out
    more = ["--set", "workloads.0.epochs=2000", "--set", "seeds=3"]
    assert "2 trials in" in thermolion("submit", small, *more).out
    assert thermolion("cancel", "small").code == 1  # and stops what is within reach
    assert not pids(layout, submission="0002")
    os.utime(record, (0, 0))  # not heard of for long: nobody knows
    assert "has given no sign of life for" in thermolion("status", "small").out
    assert "jobs of which nobody knows here" in thermolion("studies").out
    thermolion("submit", small, *more)  # those of the second submission again, no others
    carried = [_read_carried(layout, one) for one in ("0001", "0002", "0003")]
    assert carried[2] == carried[1]
    assert not carried[2] & carried[0]
    thermolion("cancel", "small")
    assert "if that machine is gone" in thermolion("cancel", "small").err
    record.write_text(json.dumps(pool))
    assert thermolion("cancel", "small").code == 0


def test_a_person_says_that_the_host_of_a_pool_is_gone(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=2000"]
    thermolion("submit", small, *longer)
    assert thermolion("cancel", "small").code == 0
    record = layout.submission("0001") / "pool.json"
    (layout.submission("0001") / "pool.ended").unlink()
    for code in (layout.submission("0001") / "output").glob("*.exit"):
        code.unlink()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "elsewhere"}))
    os.utime(record, (0, 0))
    assert "nothing to send" in thermolion("submit", small, *longer).out
    assert "4 trials in" in thermolion("submit", small, *longer, "--break-lock").out
    assert thermolion("cancel", "small").code == 0


def test_lanes_do_not_outlive_a_killed_pool(thermolion, small, layout):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    wait_for(lambda: any(b'"evaluated"' in log for log in event_logs(layout).values()))
    pool = json.loads((layout.submission("0001") / "pool.json").read_text())["pid"]
    os.kill(pool, signal.SIGKILL)
    wait_for(lambda: not pids(layout))
    assert "interrupted" in thermolion("status", "small").out
