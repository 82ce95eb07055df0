"""A sweep on SLURM: the same bits as on this machine, stopped, held, preempted and taken up."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import wait_for
from slurm_lab import COMMAND, Lab
from slurm_trainings import waiting

from orchestrator.backends.records import read_submissions
from slurm.submission import ArrayJobs
from tracking.outcomes import Outcome, read_outcomes

QUICKSTART = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"


def _outcomes(lab: Lab, study: str = "small") -> dict[str, Outcome]:
    return dict(read_outcomes(lab.layout(study).events))


def _bits(outcomes: dict[str, Outcome]) -> dict[str, object]:
    return {
        trial: (outcome.weights, dict(outcome.metrics), [p.metrics for p in outcome.curve])
        for trial, outcome in outcomes.items()
    }


def test_the_quickstart_gives_the_same_bits_on_slurm_and_on_this_machine(lab, tmp_path):
    sets = ("--set", "pack.at_least=20s")  # several packs, on both nodes
    site = lab.site(python=None)  # as it starts for everybody
    first = lab.call("run", QUICKSTART, "--backend", "slurm", "--site", site, *sets)
    assert first.code == 0, first.err
    assert "20 of 20 trials done" in first.err
    again = lab.call("run", "quickstart")
    assert again.code == 0
    assert "everything is done" in again.err
    assert _answer(again.out) == _answer(first.out)
    assert len(read_submissions(lab.layout("quickstart"))) == 1
    here = lab.another(tmp_path / "here")
    local = here.call("submit", QUICKSTART, *sets)
    assert local.code == 0, local.err
    here.await_results("quickstart", 20)
    outcomes = _outcomes(lab, "quickstart")
    assert _bits(outcomes) == _bits(_outcomes(here, "quickstart"))
    assert "trial 1 of" in lab.call("logs", "quickstart", next(iter(outcomes))).out


def _answer(printed: str) -> str:
    """Leave out the command line that goes on with a study: it repeats how the study was named."""
    return printed.partition("look with")[0]


def test_several_lanes_share_a_job_and_a_gpu(lab, small):
    keys = ["pack.trials_per_gpu=2", "resources.gpus_per_node=1"]
    sets = [word for key in keys for word in ("--set", key)]
    said = lab.call("submit", small, "--backend", "slurm", *sets)
    assert said.code == 0, said.err
    lab.await_results("small", 4)
    logs = sorted(path.name for path in lab.layout().events.glob("*.jsonl"))
    assert {name.rsplit("-", 1)[1] for name in logs} == {"0.jsonl", "1.jsonl"}
    assert {outcome.attempts for outcome in _outcomes(lab).values()} == {1}
    text = lab.layout().job_output("0001", 0).read_text()
    assert "no GPU can be used here: training on the CPU" in text


def _states(lab: Lab) -> dict[str, str]:
    said = json.loads(lab.call("status", "waiting", "--json").out)
    return {trial["candidate"]: trial["state"] for trial in said["trials"]}


def test_cancel_stops_cleanly_and_submit_goes_on(lab):
    waiting(lab)
    assert lab.call("submit", "waiting.yaml").code == 0
    lab.await_running("waiting", 2)
    assert "2 submissions stopped" not in lab.call("cancel", "waiting").out
    assert _states(lab) == {"a": "interrupted", "b": "interrupted"}
    said = lab.call("status", "waiting").out
    assert said.count("[cancelled: the next submit goes on with it]") == 2
    assert "cancelled: nothing is sent by itself until the next `thermolion submit`" in said
    assert lab.squeue() == []
    (lab.folder / "go").touch()
    assert lab.call("submit", "waiting.yaml").code == 0
    lab.await_results("waiting", 2)
    assert {outcome.attempts for outcome in _outcomes(lab, "waiting").values()} == {2}


def test_a_selection_is_held_released_and_cancelled(lab):
    waiting(lab)
    blocker = lab.occupy()
    wait_for(lambda: bool(lab.cluster.ask("squeue", "-h", "-t", "R")))
    lab.call("submit", "waiting.yaml")
    assert "1 job held" in lab.call("hold", "waiting", "--candidate", "a").out
    assert "[held in the queue (JobHeld" in lab.call("status", "waiting").out
    assert "1 job stopped" in lab.call("cancel", "waiting", "--candidate", "b").out
    (lab.folder / "go").touch()
    lab.cluster.ask("scancel", blocker)
    assert _states(lab) == {"a": "queued", "b": "waiting"}
    reasons = lab.cluster.ask("squeue", "-h", "-r", "-t", "PD", "-o", "%r").split()
    assert [reason[:7] for reason in reasons] == ["JobHeld"]  # root holds as an administrator
    assert "1 job released" in lab.call("release", "waiting").out
    lab.await_results("waiting", 1)
    assert _states(lab) == {"a": "completed", "b": "waiting"}


def test_a_study_that_is_partly_sent_is_held_and_released_as_a_whole(lab):
    waiting(lab)
    profile = lab.cluster.paths.profile.read_text() + "limits = {submit = 3}\n"
    site = lab.write(profile, "site.toml")
    lab.call("submit", "waiting.yaml", "--site", site, "--set", "seeds=2")
    wait_for(lambda: list(_states_by_count(lab)) == ["running", "queued"])
    said = lab.call("hold", "waiting").out
    assert said.startswith("2 jobs held; thermolion release lets them go; 2 others run")
    (lab.folder / "go").touch()
    wait_for(lambda: lab.squeue() == [])
    assert _states_by_count(lab) == {"completed": 2, "queued": 2}
    assert "2 jobs are held back: thermolion release waiting" in lab.call("status", "waiting").out
    assert "2 jobs released" in lab.call("release", "waiting").out
    lab.await_results("waiting", 4)
    assert len(read_submissions(lab.layout("waiting"))) == 1


def _states_by_count(lab: Lab) -> dict[str, int]:
    counts: dict[str, int] = json.loads(lab.call("status", "waiting", "--json").out)["counts"]
    return counts


def test_a_preempted_job_saves_makes_room_and_comes_back(lab):
    waiting(lab)
    lab.call("submit", "waiting.yaml")
    lab.await_running("waiting", 2)
    lab.preempt()
    (lab.folder / "go").touch()
    lab.await_results("waiting", 2)
    assert len(read_submissions(lab.layout("waiting"))) == 1
    assert {outcome.attempts for outcome in _outcomes(lab, "waiting").values()} == {2}


def test_a_job_that_its_user_has_cancelled_by_scancel_saves_and_stays_away(lab):
    waiting(lab)
    lab.call("submit", "waiting.yaml")
    lab.await_running("waiting", 2)
    lab.cluster.ask("scancel", *lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split())
    wait_for(lambda: lab.squeue() == [])
    assert _states(lab) == {"a": "interrupted", "b": "interrupted"}
    (lab.folder / "go").touch()
    lab.call("submit", "waiting.yaml")
    lab.await_results("waiting", 2)
    assert {outcome.attempts for outcome in _outcomes(lab, "waiting").values()} == {2}
    assert len(read_submissions(lab.layout("waiting"))) == 2


def test_a_job_whose_time_is_nearly_over_saves_and_is_requeued(lab):
    waiting(lab)
    profile = lab.cluster.paths.profile.read_text() + 'grace = "90s"\n'
    site = lab.write(profile, "site.toml")
    lab.call("submit", "waiting.yaml", "--site", site, "--set", "resources.time=10min")
    lab.await_running("waiting", 2)
    for job in lab.cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%A").split():
        lab.cluster.ask("scontrol", "update", f"jobid={job}", "TimeLimit=2")
    wait_for(lambda: _first_ends(lab) == ["interrupted"] * 2, 120)
    (lab.folder / "go").touch()
    lab.await_results("waiting", 2)
    assert {outcome.attempts for outcome in _outcomes(lab, "waiting").values()} == {2}
    assert len(read_submissions(lab.layout("waiting"))) == 1


def _first_ends(lab: Lab) -> list[str | None]:
    return [outcome.attempt_log[0].end for outcome in _outcomes(lab, "waiting").values()]


def test_a_job_that_dies_without_a_word_is_lost_and_sent_again(lab):
    waiting(lab)
    lab.call("submit", "waiting.yaml")
    lab.await_running("waiting", 2)
    for log in lab.layout("waiting").events.glob("*.jsonl"):
        opened = json.loads(log.read_text().splitlines()[0])
        os.kill(opened["pid"], 9)
    wait_for(lambda: set(_states(lab).values()) == {"lost"})
    (lab.folder / "go").touch()
    assert lab.call("submit", "waiting.yaml").code == 0
    lab.await_results("waiting", 2)


def test_logs_follow_a_running_job(lab):
    waiting(lab)
    lab.call("submit", "waiting.yaml")
    lab.await_running("waiting", 2)
    (lab.folder / "go").touch()
    said = lab.call("logs", "waiting", "--follow")
    assert said.code == 0
    assert said.out.count("trial 1 of 1") == 2


def test_a_queue_that_is_slow_to_answer_is_waited_for_no_longer_than_that(lab):
    waiting(lab)
    lab.call("submit", "waiting.yaml")
    lab.await_running("waiting", 2)
    path = {"PATH": lab.stand_in("squeue", 'sleep 6\ntouch go\nexec REAL "$@"')}
    command = [sys.executable, *COMMAND, "logs", "waiting", "--follow"]
    with subprocess.Popen(
        command, cwd=lab.folder, env=lab.environment | path, stdout=subprocess.DEVNULL
    ) as following:
        wait_for(lambda: following.poll() is not None, seconds=45)
    assert following.returncode == 0


def test_a_study_is_left_alone_by_ctrl_c_in_run(lab):
    waiting(lab)
    # Whoever has started the tests in the background has had them ignore Ctrl-C.
    hears = ["env", "--default-signal=INT"]
    with subprocess.Popen(
        [*hears, sys.executable, *COMMAND, "run", "waiting.yaml"],
        cwd=lab.folder,
        env=lab.environment,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as run:
        lab.await_running("waiting", 2)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the jobs go on" in err
    (lab.folder / "go").touch()
    lab.await_results("waiting", 2)
    assert {outcome.attempts for outcome in _outcomes(lab, "waiting").values()} == {1}


def test_a_study_that_could_not_be_cancelled_goes_on(lab):
    sweep, go = waiting(lab)
    assert lab.call("submit", sweep, "--site", lab.site()).code == 0
    lab.await_running("waiting", 2)
    denied = "echo 'scancel: error: Kill job error: Access/permission denied' >&2; exit 210"
    path = lab.stand_in("scancel", denied)
    for which in ((), ("--candidate", "a")):
        said = lab.call("cancel", "waiting", *which, PATH=path)
        assert (said.code, "permission denied" in said.err) == (1, True)
    output = lab.layout("waiting").submission("0001") / "output"
    assert list(output.glob("*.cancelled")) == []
    assert not ArrayJobs(lab.layout("waiting"), "0001").is_cancelled
    go.touch()
    lab.await_results("waiting", 2)
