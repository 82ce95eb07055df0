"""Why jobs wait, in words with the next step, and by which ids they are known."""

import json
import re

import pytest
from processes import wait_for
from slurm_lab import FOUR, Lab
from slurm_trainings import waiting

LIMIT = ("sacctmgr", "-i", "modify", "qos", "normal", "set")


def _modify(lab: Lab, *settings: str) -> None:
    lab.cluster.ask(*LIMIT, *settings)


def test_drained_nodes_are_said_by_plan_doctor_submit_and_status(lab):
    nodes = ("scontrol", "update", f"nodename={','.join(lab.cluster.shape.names)}")
    lab.cluster.ask(*nodes, "state=drain", "reason=test")
    sweep, site = lab.write(FOUR, "four.yaml"), lab.site()
    waits = r"\d jobs? waits?: Nodes required for job are DOWN"
    try:
        planned = lab.call("plan", sweep, "--site", site).out
        examined = lab.call("doctor", "--site", site).out
        sent = lab.call("submit", sweep, "--site", site)
        wait_for(lambda: re.search(waits, lab.call("status", "four").out) is not None)
        said = lab.call("status", "four").out
        states = json.loads(lab.call("status", "four", "--json").out)["trials"]
    finally:
        lab.cluster.ask(*nodes, "state=resume")
    drained = "2 of 2 nodes of partition 'main' are down or drained: jobs wait for them"
    assert drained in planned
    assert drained in " ".join(examined.split())
    assert drained in sent.err  # before SLURM itself has looked at the jobs
    assert "`sinfo -R` has its reason" in said
    assert any("Nodes required for job are DOWN" in (state["waits"] or "") for state in states)
    lab.await_results("four", 4)


def test_a_first_submit_asks_the_queue_once_and_has_the_ids(lab):
    calls = lab.folder / "calls"
    path = lab.stand_in("squeue", f'echo >> {calls}\nexec REAL "$@"')
    sent = lab.call("submit", lab.write(FOUR, "four.yaml"), "--site", lab.site(), PATH=path)
    assert re.search(r"^jobs \d+_\[0-3\]$", sent.out, re.MULTILINE), sent.out + sent.err
    assert len(calls.read_text().splitlines()) == 1
    lab.await_results("four", 4)


def test_the_id_of_a_job_is_in_submit_status_trial_and_json(lab):
    waiting(lab)
    sent = lab.call("submit", "waiting.yaml")
    array = lab.cluster.ask("squeue", "-h", "-o", "%F").split()[0]
    assert f"jobs {array}_[0-1]" in sent.out
    lab.await_running("waiting", 2)
    trials = json.loads(lab.call("status", "waiting", "--json").out)["trials"]
    assert sorted(trial["job"] for trial in trials) == [f"{array}_0", f"{array}_1"]
    assert f"[job {array}_0]" in lab.call("status", "waiting").out
    first = next(trial["id"] for trial in trials if trial["job"] == f"{array}_0")
    assert f"{array}_0" in lab.call("status", "waiting", first).out
    assert json.loads(lab.call("trial", first, "--json").out)["job"] == f"{array}_0"
    (lab.folder / "go").touch()
    lab.await_results("waiting", 2)
    trials = json.loads(lab.call("status", "waiting", "--json").out)["trials"]
    assert sorted(trial["job"] for trial in trials) == [f"{array}_0", f"{array}_1"]


def test_a_held_job_says_how_it_is_released(lab):
    lab.occupy()
    assert lab.call("submit", lab.write(FOUR, "four.yaml")).code == 0
    lab.call("hold", "four")
    said = lab.call("status", "four").out
    # SLURM takes root's own hold for an administrator's.
    assert re.search("4 jobs wait: JobHeld(User|Admin): they are held: `thermolion release`", said)
    lab.call("cancel", "four")


@pytest.mark.parametrize(
    ("setting", "undo", "override", "expected"),
    [
        ("MaxWall=00:10:00", "MaxWall=-1", "resources.time=1h", "60 min, QOS 'normal' allows 10"),
        ("GrpTRES=cpu=1", "GrpTRES=cpu=-1", "resources.cpus_per_task=2", "2 CPUs, QOS 'normal'"),
    ],
)
def test_a_request_above_what_a_qos_allows_is_refused_before_it_waits_for_ever(
    limited, warm, tmp_path, setting, undo, override, expected
):
    lab = Lab(limited, tmp_path, warm)
    sweep, how = lab.write(FOUR, "four.yaml"), ("--site", lab.site(account="lab"))
    _modify(lab, setting)
    try:
        planned = lab.call("plan", sweep, *how, "--set", override)
        said = lab.call("submit", sweep, *how, "--set", override)
    finally:
        _modify(lab, undo)
    assert expected in planned.out
    assert said.code == 2
    assert expected in said.err
    assert "site profile" in said.err
    assert lab.squeue() == []


def test_a_limit_on_running_jobs_is_said_before_and_while_they_wait(limited, warm, tmp_path):
    lab = Lab(limited, tmp_path, warm)
    waiting(lab)
    site = lab.site(account="lab")
    _modify(lab, "MaxJobsPU=1")
    try:
        planned = lab.call("plan", "waiting.yaml", "--site", site).out
        lab.call("submit", "waiting.yaml", "--site", site)
        lab.await_running("waiting", 1)
        said = lab.call("status", "waiting").out
    finally:
        _modify(lab, "MaxJobsPU=-1")
    assert "QOS 'normal' lets 1 job of yours run at a time; others wait" in planned
    assert "1 job waits: QOSMaxJobsPerUserLimit: you or your group have as many" in said
    (lab.folder / "go").touch()
    lab.await_results("waiting", 2)
