"""A job that the controller itself has lost, on a real SLURM: sacct takes it for a waiting one."""

import json
import shutil
from pathlib import Path

from processes import wait_for
from slurm_lab import FOUR, Lab

from slurm.devcluster.cluster import Cluster
from slurm.submission import read_slurm_submissions


def test_a_job_that_a_killed_controller_had_not_saved_is_not_waited_for(
    limited: Cluster, warm: str, tmp_path: Path
) -> None:
    lab = Lab(limited, tmp_path, warm)
    sweep = lab.write(FOUR, "four.yaml")
    state, kept = limited.paths.folder / "state", tmp_path / "state"
    limited.daemons.stop("slurmctld")  # so that it saves what there is
    shutil.copytree(state, kept)
    limited.up()
    later = lab.site(account="lab", options={"begin": "now+1hour"})
    assert lab.call("submit", sweep, "--site", later).code == 0
    ((array_job,),) = (one.array_jobs.read() for one in read_slurm_submissions(lab.layout("four")))
    asked = ("sacct", "-n", "-X", f"--jobs={array_job.id}", "--format=State,JobName%50")
    wait_for(lambda: array_job.name in limited.ask(*asked))
    limited.daemons.stop("slurmctld")
    shutil.copytree(kept, state, dirs_exist_ok=True)
    limited.up()
    assert lab.squeue() == []
    assert f"PENDING {array_job.name}" in " ".join(limited.ask(*asked).split())
    trials = json.loads(lab.call("status", "four", "--json").out)["trials"]
    assert [trial["class"] for trial in trials] == ["NEVER_STARTED"] * 4
    how = ("--site", lab.site(account="lab"), "--set", "failures={never_started: {backoff: 0s}}")
    assert lab.call("submit", sweep, *how).code == 0
    lab.await_results("four", 4)
