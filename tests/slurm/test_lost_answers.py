"""A submission killed at each of its stages, and repeated: no trial twice, none missing."""

import signal

import pytest
from slurm_lab import ONE_A_TASK, Lab

from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

FOUR_A_TASK = ONE_A_TASK.replace("seeds: 1", "seeds: 2")
# What stands in for a command of SLURM: it kills the submission that has called it, and does or
# does not do its work. The second call of sbatch is that of the second submission.
STAGES = {
    "before the record": ("scontrol", 1, "kill -9 $PPID"),
    "before sbatch": ("squeue", 1, "kill -9 $PPID"),
    "intended": ("sbatch", 1, "kill -9 $PPID"),
    "answer lost": ("sbatch", 1, 'REAL "$@"; kill -9 $PPID'),
    "sent by an orphan": ("sbatch", 1, 'kill -9 $PPID; sleep 3; REAL "$@"'),
    "half of it sent": ("sbatch", 2, "kill -9 $PPID"),
}


def _stand_in(lab: Lab, command: str, call: int, act: str) -> str:
    """Return a PATH on which the given call of a command is another one."""
    calls = lab.folder / "calls"
    nth = f"[ $(wc -l < {calls}) -eq {call} ]"
    return lab.stand_in(
        command, f'echo >> {calls}\nif {nth}; then\n{act}\nelse exec REAL "$@"; fi'
    )


# What sbatch says of a controller that is down, and of one that takes the job but answers late.
_FAILED = "sbatch: error: Batch job submission failed: "
_DOWN = "Unable to contact slurm controller (connect failure)"
_LATE = "Socket timed out on send/recv operation"
SILENCES = {
    "down": f'echo "{_FAILED}{_DOWN}" >&2; exit 1',
    "late": f'REAL "$@" > /dev/null; echo "{_FAILED}{_LATE}" >&2; exit 1',
}


@pytest.mark.parametrize("silence", SILENCES)
def test_what_a_silent_controller_was_sent_stays_meant(lab, silence):
    site = lab.site(limits={"array": 2})
    sweep = lab.write(FOUR_A_TASK)
    path = _stand_in(lab, "sbatch", 2, SILENCES[silence])
    said = lab.call("submit", sweep, "--site", site, PATH=path)
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1
    assert lab.call("submit", sweep, "--site", site).code == 0
    lab.await_results("small", 4)
    assert sorted(folder.name for folder in lab.layout().submissions.iterdir()) == ["0001", "0002"]
    assert {outcome.attempts for outcome in read_outcomes(lab.layout().events).values()} == {1}


@pytest.mark.parametrize("silence", SILENCES)
def test_who_watches_sends_the_rest_once_the_controller_is_back(lab, silence):
    site = lab.site(limits={"submit": 2}, sbatch_on_nodes=False)
    path = _stand_in(lab, "sbatch", 2, SILENCES[silence])
    sets = ("--set", "seeds=2")
    said = lab.call("run", lab.write(ONE_A_TASK), "--site", site, *sets, PATH=path)
    assert said.code == 0, said.err
    assert "4 of 4 trials done" in said.err
    assert [folder.name for folder in lab.layout().submissions.iterdir()] == ["0001"]
    array_jobs = ArrayJobs(lab.layout(), "0001").read()
    calls = len((lab.folder / "calls").read_text().splitlines())
    assert calls == len(array_jobs) + (silence == "down")  # what was taken is not sent again


def test_a_job_that_turns_up_after_it_was_cancelled_trains_nothing(lab):
    assert lab.call("submit", lab.write(ONE_A_TASK), "--site", lab.site()).code == 0
    assert lab.call("cancel", "small").code == 0
    array_jobs = ArrayJobs(lab.layout(), "0001")
    (array_job,) = array_jobs.read()
    (array_jobs.folder / f"{array_job.number}.job").unlink()  # its sender had no answer
    (script,) = (lab.layout().submission("0001") / "scripts").glob("*.sh")
    begun = sorted(lab.layout().events.glob("*"))
    sbatch = ("sbatch", "--parsable", "--wait", f"--job-name={array_job.name}")
    assert lab.cluster.ask(*sbatch, f"--array={array_job.array}", str(script)).strip()
    log = lab.layout().job_output("0001", 0).read_text()
    assert "was cancelled, or another job carries it: nothing to do" in log
    assert sorted(lab.layout().events.glob("*")) == begun


@pytest.mark.parametrize("stage", STAGES)
def test_a_submission_that_was_killed_is_made_up_for(lab, stage):
    site = lab.site(limits={"array": 2})
    sweep = lab.write(FOUR_A_TASK)
    killed = lab.call("submit", sweep, "--site", site, PATH=_stand_in(lab, *STAGES[stage]))
    assert killed.code == -signal.SIGKILL, killed.err

    again = lab.call("submit", sweep, "--site", site)
    assert again.code == 0, again.err
    lab.await_results("small", 4)
    assert {outcome.attempts for outcome in read_outcomes(lab.layout().events).values()} == {1}
    array_jobs = [
        array_job
        for folder in lab.layout().submissions.iterdir()
        for array_job in ArrayJobs(lab.layout(), folder.name).read()
    ]
    assert len(array_jobs) == 2
    assert all(array_job.id is not None for array_job in array_jobs)
    assert "4 of 4 trials are done" in lab.call("submit", sweep, "--site", site).out
