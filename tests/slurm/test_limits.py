"""More trials than the site takes at once: all complete, none twice, and few questions asked."""

import itertools
import json
import time
from pathlib import Path

from processes import wait_for
from slurm_lab import FOUR, Lab

from jobs.contract.layout import Layout
from orchestrator.backends.records import read_submissions
from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

MANY = FOUR.replace("study: four", "study: many").replace("seeds: 4", "seeds: 150")
EVERY_S = 2.0  # `status_every` of the profile that `cluster up` writes


def test_a_throttle_is_shared_by_all_arrays_of_a_study(lab):
    site = lab.site(limits={"array": 2})
    keep = lab.occupy()
    sweep = lab.write(FOUR, "four.yaml")
    said = lab.call("submit", sweep, "--site", site, "--set", "limits.concurrent=1")
    assert "4 trials in 4 packs, 1 at a time" in said.out, said.err
    queued = lab.cluster.ask("squeue", "-h", "-n", _names(lab), "-o", "%i %E").split("\n")
    assert [line.split("_")[1].split()[0] for line in queued if line] == ["[0-1%1]", "[0-1%1]"]
    assert sum("afterany" in line for line in queued) == 1
    lab.cluster.ask("scancel", keep)
    lab.await_results("four", 4)
    spans = sorted(
        (outcome.started_ms, outcome.ended_ms)
        for outcome in read_outcomes(lab.layout("four").events).values()
    )
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_a_plan_counts_the_trials_of_all_arrays_under_the_throttle(lab):
    sweep, site = lab.write(FOUR, "four.yaml"), lab.site(limits={"array": 2})
    said = [
        lab.call("plan", sweep, "--site", site, *more).out
        for more in ((), ("--set", "limits.concurrent=3"))
    ]
    assert "4 to send, 4 at a time" in said[0]
    assert "4 to send, 3 at a time" in said[1]


def test_a_plan_shows_what_an_array_waits_for_under_the_throttle(lab):
    sweep, site = lab.write(FOUR, "four.yaml"), lab.site(limits={"array": 2})
    said = lab.call("plan", sweep, "--site", site, "--set", "limits.concurrent=1").out
    first, second = said.split("#!/bin/bash")[1:]
    assert "--dependency" not in first
    assert "#SBATCH --dependency='afterany:<id of four-0001.0>'\n" in second
    assert "--dependency" not in lab.call("plan", sweep, "--site", site).out


def test_a_plan_of_several_ranks_counts_ranks_and_its_time_does_not_count_them_twice(lab):
    sweep, site = lab.write(FOUR, "four.yaml"), lab.site()
    ranks = ("--set", "resources.tasks_per_node=2", "--set", "pack.at_least=0s")
    plans = [
        json.loads(lab.call("plan", sweep, "--site", site, *ranks, *more, "--json").out)
        for more in ((), ("--set", "limits.concurrent=2"), ("--set", "limits.concurrent=1"))
    ]
    assert [plan["lanes"] for plan in plans] == [8, 4, 2]
    one = plans[0]["estimated_seconds"]
    assert [plan["estimated_seconds"] for plan in plans] == [one, 2 * one, 4 * one]
    said = lab.call("plan", sweep, "--site", site, *ranks).out
    assert "4 to send, 8 ranks at a time" in said


def _names(lab: Lab) -> str:
    return ",".join(name for name in lab.squeue() if name.startswith("four-"))


def test_a_thousand_trials_are_sent_and_no_process_is_left_behind(lab):
    keep = lab.occupy()
    sweep = lab.write(FOUR.replace("seeds: 4", "seeds: 1000"), "four.yaml")
    said = lab.call("submit", sweep, "--site", lab.site())
    assert "1000 trials in 1000 packs" in said.out, said.err
    assert len([name for name in lab.squeue() if name.startswith("four-0001.")]) == 1000
    root = f"THERMOLION_ROOT={lab.root}".encode()
    assert not [one for one in Path("/proc").glob("[0-9]*") if root in _environment(one)]
    assert "1000 queued" in lab.call("status", "four").out
    assert lab.call("cancel", "four").code == 0
    wait_for(lambda: not any(name.startswith("four-") for name in lab.squeue()))
    lab.cluster.ask("scancel", keep)


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""  # it has ended in this moment


def test_if_jobs_may_not_submit_the_next_submit_sends_the_rest(lab):
    site = lab.site(limits={"submit": 2}, sbatch_on_nodes=False)
    sweep = lab.write(FOUR, "four.yaml")
    assert lab.call("submit", sweep, "--site", site).code == 0
    said = lab.call("status", "four").out
    assert "2 jobs are not in the queue yet" in said
    assert "with the next `thermolion submit`" in said
    lab.await_results("four", 2)
    assert "4 of 4 trials are done" not in lab.call("submit", "four", "--site", site).out
    lab.await_results("four", 4)
    assert {o.attempts for o in read_outcomes(lab.layout("four").events).values()} == {1}


def _counted(lab: Lab) -> str:
    """Return a PATH on which every call of squeue leaves its time."""
    return lab.stand_in("squeue", f'date +%s.%N >> {lab.folder}/calls\nexec REAL "$@"')


def _most_queued(layout: Layout) -> int:
    return max(
        array_job.count
        for submission in read_submissions(layout)
        for array_job in ArrayJobs(layout, submission.id).read()
    )


def test_150_trials_one_a_task_within_arrays_of_51_and_20_jobs(limited, warm, tmp_path):
    lab = Lab(limited, tmp_path, warm)
    begin = time.monotonic()
    sent = lab.call("submit", lab.write(MANY, "many.yaml"))
    assert sent.code == 0, sent.err
    assert time.monotonic() - begin < 60  # seconds, on a machine that does much else
    assert "150 trials in 150 packs" in sent.out
    assert len(lab.squeue()) <= 20
    assert "jobs are not in the queue yet" in lab.call("status", "many").out

    # It goes on by itself; somebody who looks on asks once in an interval.
    watched = lab.call("logs", "many", "--follow", PATH=_counted(lab))
    assert watched.code == 0, watched.err
    lab.await_results("many", 150)
    calls = [float(line) for line in (lab.folder / "calls").read_text().split()]
    assert len(calls) > 2
    assert min(after - before for before, after in itertools.pairwise(calls)) >= EVERY_S

    layout = lab.layout("many")
    outcomes = read_outcomes(layout.events)
    assert len(outcomes) == 150
    assert {outcome.attempts for outcome in outcomes.values()} == {1}
    assert [submission.packs for submission in read_submissions(layout)] == [51, 51, 48]
    assert _most_queued(layout) < 20
    known = {"chunks", "feed.log", "output", "packs", "scripts", "submission.json"}
    for submission in layout.submissions.iterdir():
        assert {path.name for path in submission.iterdir()} <= known
    assert list(layout.folder.rglob(".*")) == []
    assert len(list(layout.events.iterdir())) == 150
    assert "nothing to send: 150 of 150" in lab.call("submit", "many").out
