"""What ends jobs on a real SLURM: each end has its class, and what follows is really asked for."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for
from slurm_lab import Lab, cluster_of
from slurm_trainings import HUNGRY, WAITS, odd, script

from jobs.contract.oom_kills import OOM_SUFFIX
from orchestrator.backends.records import read_submissions
from slurm.devcluster.cluster import Cluster
from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes


@pytest.fixture(scope="module")
def strict() -> Iterator[Cluster]:
    """A cluster that kills what takes more memory than it has asked for; it has no sacct."""
    with cluster_of(Shape(nodes=1, gpus=0, kill_over_memory=True)) as made:
        yield made


def _trial(lab: Lab, study: str = "odd") -> dict[str, Any]:
    (trial,) = json.loads(lab.call("status", study, "--json").out)["trials"]
    return dict(trial)


def _task(lab: Lab) -> str:
    return lab.cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%F_%K").strip()


def _impatient(lab: Lab, more: str = "") -> Path:
    """Write a site on which four minutes are nearly over from the first one on."""
    text = lab.cluster.paths.profile.read_text()
    return lab.write(f'{text}grace = "3min"\n{more}\n', "site.toml")


def _warn(lab: Lab) -> None:
    """Send what SLURM sends before the time is over."""
    lab.cluster.ask("scancel", "--batch", "--signal=USR2", _task(lab))


def _await_ended(lab: Lab, study: str = "odd") -> None:
    wait_for(lambda: not any(name.startswith(f"{study}-") for name in lab.squeue()), 120)


def test_a_job_that_runs_out_of_memory_is_given_more(strict, tmp_path):
    lab = Lab(strict, tmp_path)
    sweep, _ = odd(lab, HUNGRY, "resources: {mem: 500M}\nfailures: {oom_host: {mem: 3}}\n")
    assert lab.call("submit", sweep).code == 0
    wait_for(lambda: _trial(lab)["class"] == "OOM_HOST", 120)
    _await_ended(lab)
    said = lab.call("status", "odd").out
    assert "[OOM_HOST on n1" in said
    assert "the next submit sends it (with 3 times the memory, retry 1 of 2)" in said
    assert "1 ended by OOM_HOST on n1 (a)" in said
    assert lab.call("submit", sweep).code == 0
    lab.await_results("odd", 1)
    assert "#SBATCH --mem=1500M" in script(lab, "odd", "0002")


def test_a_user_says_how_much_more(strict, tmp_path):
    lab = Lab(strict, tmp_path)
    keys = "resources: {mem: 500M, time: 10min}\nfailures: {oom_host: {retries: 0}}\n"
    sweep, _ = odd(lab, HUNGRY, keys)
    lab.call("submit", sweep)
    wait_for(lambda: _trial(lab)["next"] == "left alone until `thermolion retry`", 120)
    assert "nothing to send" in lab.call("submit", sweep).out
    said = lab.call("retry", sweep, "--class", "OOM", "--mem", "4x", "--time", "1.5x")
    assert "1 trial in" in said.out, said.err
    sent = script(lab, "odd", "0002")
    assert "#SBATCH --mem=2000M" in sent
    assert "#SBATCH --time=15" in sent
    lab.await_results("odd", 1)


def test_no_job_goes_to_a_node_that_has_died(lab):
    sweep, go = odd(lab, WAITS)
    site = lab.write(lab.cluster.paths.profile.read_text() + "requeue = false\n", "site.toml")
    lab.call("submit", sweep, "--site", site)
    lab.await_running("odd", 1)
    node = lab.cluster.ask("squeue", "-h", "-t", "R", "-o", "%N").strip()
    lab.cluster.daemons.stop(f"slurmd.{node}")
    try:
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        wait_for(lambda: _trial(lab)["class"] == "NODE_FAIL")
        assert (_trial(lab)["node"], _trial(lab)["why"]) == (node, "its node died")
        os.kill(_pid(lab), signal.SIGKILL)  # what a dead node does to its processes
        go.touch()
        lab.call("submit", sweep, "--site", site)
        lab.await_results("odd", 1)
    finally:
        lab.cluster.up()
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert f"#SBATCH --exclude={node}" in script(lab, "odd", "0002")


def _pid(lab: Lab) -> int:
    (log,) = lab.layout("odd").events.glob("*.jsonl")
    return int(json.loads(log.read_text().splitlines()[0])["pid"])


def test_a_job_that_never_began_waits_before_it_goes_again(lab):
    sweep, _ = odd(lab, WAITS, "failures: {never_started: {backoff: 90s}}\n")
    lab.occupy()
    wait_for(lambda: bool(lab.cluster.ask("squeue", "-h", "-t", "R")))
    lab.call("submit", sweep)
    lab.cluster.ask("scancel", "--state=PENDING", f"--user={os.geteuid()}")
    wait_for(lambda: _trial(lab)["class"] == "NEVER_STARTED")
    assert "#SBATCH --begin=now+90" in lab.call("plan", "odd").out


def test_a_job_that_gets_no_further_between_two_attempts_is_stopped_and_named(lab):
    sweep, _ = odd(lab, WAITS, "resources: {time: 4min}\nfailures: {timeout: {retries: 0}}\n")
    lab.call("submit", sweep, "--site", _impatient(lab))
    lab.await_running("odd", 1)
    _warn(lab)  # it saves for the first time: it has gained something, and comes back
    wait_for(lambda: _trial(lab)["next"] == "requeued: it goes on by itself", 60)
    wait_for(lambda: "PENDING" in lab.cluster.ask("squeue", "-h", "-o", "%T"))
    (waiting,) = lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split()
    lab.cluster.ask("scontrol", "hold", waiting)
    wait_for(lambda: str(_trial(lab)["next"]).startswith("requeued, and held in the queue ("))
    lab.cluster.ask("scontrol", "release", waiting)
    wait_for(lambda: _trial(lab)["attempts"] == 2 and _trial(lab)["state"] == "running", 60)
    _warn(lab)
    wait_for(lambda: _trial(lab)["class"] == "TIMEOUT", 60)
    trial = _trial(lab)
    assert "it had got no further than the attempt before" in trial["why"]
    assert trial["next"] == "left alone until `thermolion retry`"
    assert "nothing to send" in lab.call("submit", sweep).out
    assert len(read_submissions(lab.layout("odd"))) == 1


# As if the kernel had done it: the witness on its node has left its mark.
KILLED = """\
import os, signal
from pathlib import Path

def train(trial, context):
    context.log(1, loss=1.0)
    Path("MARK").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_the_kernel_has_killed_for_its_memory_is_told_though_slurm_has_not_noticed(lab):
    mark = lab.layout("odd").job_output("0001", 0).with_suffix(OOM_SUFFIX)
    sweep, _ = odd(lab, KILLED.replace("MARK", str(mark)))
    assert lab.call("submit", sweep).code == 0
    wait_for(lambda: _trial(lab)["class"] == "OOM_HOST", 60)
    assert _trial(lab)["why"] == "its node had no memory left for it"


def test_a_site_that_warns_by_another_signal_is_heard(lab):
    sweep, go = odd(lab, WAITS)
    lab.call("submit", sweep, "--site", _impatient(lab, "requeue = false"))
    lab.await_running("odd", 1)
    lab.cluster.ask("scancel", "--batch", "--signal=USR1", _task(lab))
    _await_ended(lab)
    # Its time is not nearly over, so somebody wants its room.
    assert (_trial(lab)["state"], _trial(lab)["class"]) == ("interrupted", "PREEMPTED")
    assert len(list(lab.layout("odd").checkpoints.glob("*.pt"))) == 1
    go.touch()


@pytest.mark.parametrize("way", ["requeue = false", "setup = ['export PATH=BIN:$PATH']"])
def test_if_jobs_cannot_be_requeued_a_chained_job_sends_the_rest(lab, way):
    refuses = "echo 'scontrol: error: disabled' >&2; exit 1"  # and may be asked what there is
    lab.stand_in("scontrol", f'[ "$1" = show ] && exec REAL "$@"\n{refuses}')
    told = lab.folder / "told"
    tell = f"sh -c 'echo $THERMOLION_EVENT >> {told}'"
    keys = "resources: {time: 4min}\nfailures: {unattended: true}\n"
    sweep, go = odd(lab, WAITS, f'{keys}notify: {{command: "{tell}"}}\n')
    site = _impatient(lab, way.replace("BIN", str(lab.folder / "bin")))
    lab.call("submit", sweep, "--site", site)
    lab.await_running("odd", 1)
    _warn(lab)
    wait_for(lambda: len(read_submissions(lab.layout("odd"))) == 2, 60)
    go.touch()
    lab.await_results("odd", 1)
    (outcome,) = read_outcomes(lab.layout("odd").events).values()
    assert [attempt.end for attempt in outcome.attempt_log] == ["interrupted", "completed"]
    assert told.read_text() == "done\n"  # by that job: nobody else has looked


RANKS = """\
study: ranks
workloads: [{dataset: digits, model: {mlp: {hidden: [32]}}, epochs: 400, global_batch: 256}]
candidates: {adamw: {lr: 1e-2}}
seeds: 1
resources: {nodes: 2}
checkpoint: {every: 0.2s}
backend: slurm
"""


def test_a_rank_that_is_killed_takes_the_others_along_and_the_trial_resumes(lab):
    sweep = lab.write(RANKS, "ranks.yaml")
    lab.call("submit", sweep)
    wait_for(lambda: any(lab.layout("ranks").checkpoints.glob("*.pt")), 120)
    ranks = _node_processes(str(lab.layout("ranks").submission("0001")))
    os.kill(ranks[-1], signal.SIGKILL)
    _await_ended(lab, "ranks")
    trial = _trial(lab, "ranks")
    # The first rank writes: where it was the one, nobody was left to log the end.
    assert trial["state"] in ("interrupted", "lost")
    assert trial["class"] == "LOST"
    lab.call("submit", sweep)
    lab.await_results("ranks", 1)
    (outcome,) = read_outcomes(lab.layout("ranks").events).values()
    assert (outcome.attempts, outcome.state) == (2, "completed")
    assert not outcome.nondeterministic


def _node_processes(folder: str) -> list[int]:
    """Return the pids of the ranks and lanes of a submission that live."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended in this moment
        if "slurm.node" in words and folder in words and "srun" not in words[0]:
            found.append(int(process.name))
    return found


LONG = """\
study: long
defaults: {model: {mlp: {hidden: [16], dropout: 0.1}}, epochs: 120, global_batch: 256}
workloads: [{dataset: digits}]
candidates: {thermolion: {}}
seeds: 1
resources: {time: 4min}
"""


def test_a_trial_longer_than_its_time_ends_with_the_same_bits(lab, tmp_path):
    sweep = lab.write(LONG, "long.yaml")
    lab.call("submit", sweep, "--backend", "slurm", "--site", _impatient(lab))
    for attempts in (1, 2):
        wait_for(lambda: _has_logged(lab, attempts), 120)  # noqa: B023 - called in this turn
        _warn(lab)
    lab.await_results("long", 1)
    (outcome,) = read_outcomes(lab.layout("long").events).values()
    ends = [attempt.end for attempt in outcome.attempt_log]
    assert ends == ["interrupted"] * 2 + ["completed"]
    assert {attempt.kind for attempt in outcome.attempt_log[:2]} == {"TIMEOUT"}
    assert len(read_submissions(lab.layout("long"))) == 1
    here = lab.another(tmp_path / "here")
    assert here.call("submit", here.write(LONG, "long.yaml")).code == 0
    here.await_results("long", 1)
    (calm,) = read_outcomes(here.layout("long").events).values()
    assert (calm.weights, dict(calm.metrics)) == (outcome.weights, dict(outcome.metrics))
    assert [p.metrics for p in calm.curve] == [p.metrics for p in outcome.curve]


def _has_logged(lab: Lab, attempts: int) -> bool:
    for outcome in read_outcomes(lab.layout("long").events).values():
        newest = outcome.attempt_log[-1]
        if outcome.attempts == attempts and newest.end == "running":
            return newest.step is not None
    return False


def test_two_submits_at_a_time_send_no_trial_twice(lab, small):
    with ThreadPoolExecutor() as both:
        said = list(both.map(lambda _: lab.call("submit", small, "--backend", "slurm"), range(2)))
    assert sorted(one.code for one in said) == [0, 0], said
    assert sum("4 trials in" in one.out for one in said) == 1
    lab.await_results("small", 4)
    assert {o.attempts for o in read_outcomes(lab.layout().events).values()} == {1}
