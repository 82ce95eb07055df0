"""What is not in the queue yet: who sends it, and what is said if nobody can."""

import subprocess
import sys

from processes import wait_for
from slurm_lab import FOUR, Lab

from jobs.contract.layout import Layout
from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

FAILS = "case $SLURM_JOB_NAME in *-feed) echo no Python on this node; exit 3;; esac"


def _attempts(layout: Layout) -> list[int]:
    return [outcome.attempts for outcome in read_outcomes(layout.events).values()]


def test_a_feeder_that_has_failed_is_said_with_the_next_step(lab):
    site = lab.site(limits={"submit": 3}, setup=[FAILS])
    assert lab.call("submit", lab.write(FOUR, "four.yaml"), "--site", site).code == 0
    lab.await_results("four", 2)
    said = lab.call("status", "four").out
    assert "2 jobs are not in the queue yet: the job that sends them on is gone" in said
    assert "(no Python on this node): `thermolion submit` sends them" in said
    assert lab.call("submit", "four", "--site", site).code == 0
    lab.await_results("four", 4)
    assert _attempts(lab.layout("four")) == [1] * 4


def test_a_limit_that_the_site_does_not_tell_leaves_a_place_for_the_feeder(
    limited, warm, tmp_path
):
    lab = Lab(limited, tmp_path, warm)
    keep = lab.occupy()
    site = lab.site(limits={"submit": 500}, account="lab")  # in truth it is 20
    sweep = lab.write(FOUR, "four.yaml")
    said = lab.call("submit", sweep, "--site", site, "--set", "seeds=30")
    assert said.code == 0, said.err
    names = lab.squeue()
    array_jobs = ArrayJobs(lab.layout("four"), "0001").read()
    assert sum(name.endswith("-feed") for name in names) == 1
    assert 10 < sum(array_job.count for array_job in array_jobs) < 20
    assert "they go by themselves, as room is made" in lab.call("status", "four").out
    lab.call("cancel", "four")
    lab.cluster.ask("scancel", keep)
    assert not any(name.startswith("four-") for name in lab.squeue())


def test_a_request_that_is_never_granted_is_no_full_queue(limited, warm, tmp_path):
    lab = Lab(limited, tmp_path, warm)
    limit = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    lab.cluster.ask(*limit, "MaxTRESPerNode=cpu=1", "flags=DenyOnLimit")
    try:
        sweep = lab.write(FOUR, "four.yaml")
        two = ("--set", "resources.cpus_per_task=2")
        said = lab.call("submit", sweep, "--site", lab.site(), *two)
    finally:
        lab.cluster.ask(*limit, "MaxTRESPerNode=cpu=-1", "flags-=DenyOnLimit")
    assert said.code == 1
    assert "sbatch refuses: QOSMaxCpuPerNode" in said.err
    assert lab.squeue() == []
    again = lab.call("submit", sweep, "--site", lab.site())
    assert again.code == 0, again.err
    lab.await_results("four", 4)


def test_the_feeder_outlasts_a_controller_and_leaves_no_lock(lab):
    site = lab.site(limits={"submit": 2}, sbatch_on_nodes=False)
    assert lab.call("submit", lab.write(FOUR, "four.yaml"), "--site", site).code == 0
    lab.await_results("four", 2)
    words = [sys.executable, "-P", "-m", "slurm.feed", str(lab.root), "four"]

    asked = lab.folder / "asked"
    path = {"PATH": lab.stand_in("squeue", f"touch {asked}\nexec sleep 60")}
    with subprocess.Popen(words, env=lab.environment | path) as feeder:
        wait_for(asked.exists)
        assert lab.layout("four").lock.exists()
        feeder.terminate()  # as SLURM does, to whoever has to leave
    assert not lab.layout("four").lock.exists()

    lab.stand_in("squeue", "rm $0\necho no controller >&2\nexit 1")
    subprocess.run(words, env=lab.environment | path, check=True, timeout=120)
    lab.await_results("four", 4)


def test_release_and_run_reach_what_another_backend_has_left_to_send(lab):
    site = lab.site(limits={"submit": 2}, sbatch_on_nodes=False)
    sweep = lab.write(FOUR, "four.yaml")
    assert lab.call("submit", sweep, "--site", site).code == 0
    lab.call("hold", "four")
    assert "2 jobs are held back" in lab.call("status", "four").out
    here = ("--set", "backend=local")
    assert "released" in lab.call("release", "four", *here).out
    said = lab.call("run", "four", *here)
    assert said.code == 0, said.err
    assert [path.name for path in lab.layout("four").submissions.iterdir()] == ["0001"]
    assert _attempts(lab.layout("four")) == [1] * 4


def test_what_is_not_sent_yet_is_no_living_job_of_a_study(lab):
    later = lab.site(limits={"submit": 2}, sbatch_on_nodes=False, options={"begin": "now+1hour"})
    assert lab.call("submit", lab.write(FOUR, "four.yaml"), "--site", later).code == 0
    assert "2 jobs alive, 2 jobs not sent yet" in lab.call("studies").out
    assert lab.call("cancel", "four").code == 0
