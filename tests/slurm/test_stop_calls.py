"""What `hold`, `release` and `cancel` ask of SLURM, however many trials there are."""

import pytest
from slurm_lab import FOUR, Lab


@pytest.fixture
def asked(lab):
    """A study of eight jobs that wait, and the calls of scontrol that a command makes."""
    lab.occupy()
    log = lab.folder / "asked"
    path = lab.stand_in("scontrol", f'echo "$@" >> {log}\nexec REAL "$@"')
    sent = lab.call("submit", lab.write(FOUR, "four.yaml"), "--set", "candidates.adam.lr=0.01")
    assert sent.code == 0, sent.err

    def call(*arguments: str) -> list[str]:
        log.unlink(missing_ok=True)
        done = lab.call(*arguments, PATH=path)
        assert done.code == 0, done.err
        lines = log.read_text().splitlines()
        return [line for line in lines if line.startswith(("hold", "release"))]

    return call


def _array(lab: Lab) -> str:
    rows = map(str.split, lab.cluster.ask("squeue", "-h", "-o", "%F %j").splitlines())
    return next(job for job, name in rows if name.startswith("four-"))


def test_all_that_waits_of_an_array_is_held_and_released_as_one(lab, asked):
    array = _array(lab)
    assert asked("hold", "four") == [f"hold {array}_[0-7]"]
    records = lab.cluster.ask("squeue", "-h", "-j", array, "-o", "%r").split()
    assert len(records) == 1  # none of the tasks became a job of its own
    assert records[0].startswith("JobHeld")
    assert asked("release", "four") == [f"release {array}_[0-7]"]
    assert "JobHeld" not in lab.cluster.ask("squeue", "-h", "-r", "-o", "%r")
    (part,) = asked("hold", "four", "--candidate", "adam")
    tasks = part.removeprefix("hold ").split(",")
    assert len(tasks) == 4
    held = lab.cluster.ask("squeue", "-h", "-r", "-j", array, "-o", "%i %r").splitlines()
    assert sorted(line.split()[0] for line in held if "JobHeld" in line) == sorted(tasks)
