"""Jobs beside ours in the queue, and variables of a user's shell: neither is taken for ours."""

from collections import Counter

import pytest
from processes import wait_for
from slurm_lab import ONE_A_TASK, Lab

from slurm.submission import ArrayJobs

SWEEP = ONE_A_TASK + "failures: {never_started: {backoff: 0s}}\n"
NOTHING = ("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600")


@pytest.fixture
def filler(lab: Lab) -> str:
    """The id of a job that has all nodes, so that every other one waits."""
    job = lab.occupy()
    wait_for(lambda: lab.cluster.ask("squeue", "-h", "-o", "%T").strip() == "RUNNING")
    return job


def test_an_id_that_a_restarted_controller_gives_to_another_job_is_not_ours(lab, filler):
    """As after a crash: SLURM has forgotten our job, and its id is that of somebody's array."""
    sweep = lab.write(SWEEP)
    assert lab.call("submit", sweep).code == 0
    another = lab.cluster.ask(*NOTHING, "--hold", "--array=0-3", "--job-name=another").strip()
    (array_job,) = ArrayJobs(lab.layout(), "0001").read()
    lab.cluster.ask("scancel", str(array_job.id))
    answer = ArrayJobs(lab.layout(), "0001").folder / "0.job"
    answer.write_text(answer.read_text().replace(str(array_job.id), another))

    assert lab.call("submit", sweep).code == 0
    names = Counter(name.partition("-")[0] for name in lab.squeue())
    assert names == {"filler": 1, "another": 4, "small": 2}
    assert lab.call("cancel", "small").code == 0
    assert sorted(lab.squeue()) == ["another"] * 4 + ["filler"]
    lab.cluster.ask("scancel", filler)
    assert lab.call("submit", sweep).code == 0
    lab.await_results("small", 2)
    assert lab.squeue() == ["another"] * 4
    lab.cluster.ask("scancel", another)


@pytest.mark.usefixtures("filler")
def test_two_studies_of_one_name_have_their_own_jobs_to_send_the_rest(lab):
    sweep = lab.write(SWEEP)
    for root, most in (("here", 4), ("there", 7)):  # two of four trials, and a job for the rest
        site, where = lab.site(limits={"submit": most}), ("--root", lab.folder / root)
        said = lab.call("submit", sweep, "--set", "seeds=2", "--site", site, *where)
        assert said.code == 0, said.err
    assert sum(name.endswith("-feed") for name in lab.squeue()) == 2
    before = Counter(lab.squeue())
    assert lab.call("cancel", "small", "--root", lab.folder / "there").code == 0
    left = Counter(lab.squeue())
    assert sum(name.endswith("-feed") for name in left) == 1
    assert left < before
    assert sum(left.values()) == 4
    assert lab.call("cancel", "small", "--root", lab.folder / "here").code == 0
    assert lab.squeue() == ["filler"]


@pytest.mark.usefixtures("filler")
@pytest.mark.parametrize("variable", ["SQUEUE_PARTITION", "SQUEUE_NAMES"])
def test_what_a_user_wants_to_see_of_the_queue_hides_no_job_of_ours(lab, variable):
    sweep = lab.write(SWEEP)
    assert lab.call("submit", sweep).code == 0
    said = lab.call("submit", sweep, **{variable: "urgent"})
    assert said.code == 0, said.err
    assert Counter(name.partition("-")[0] for name in lab.squeue()) == {"filler": 1, "small": 2}


@pytest.mark.usefixtures("filler")
def test_other_jobs_may_be_called_what_they_like(lab):
    for name in ("1|two\nlines", "7|0|RUNNING|n1|None", b"\xff".decode(errors="surrogateescape")):
        lab.cluster.ask(*NOTHING, "--hold", f"--job-name={name}")
    sweep = lab.write(SWEEP)
    assert lab.call("submit", sweep).code == 0
    said = lab.call("status", "small")
    assert said.code == 0, said.err
    assert lab.call("cancel", "small").code == 0
