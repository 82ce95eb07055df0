"""Jobs that end before our code begins, on a real SLURM: why is told, and the rest is held."""

import json

import pytest
from processes import wait_for
from slurm_lab import FOUR, Lab

from orchestrator.backends.records import read_submissions
from orchestrator.progress.status import read_status
from orchestrator.results.given_up import list_given_up
from orchestrator.study.study import open_study

HELD = "held, because the first jobs of the submission ended alike before they began"


def _await_held(lab: Lab, count: int) -> str:
    """Wait until so many trials are held; return what status says of it."""

    def held() -> bool:
        trials = json.loads(lab.call("status", "four", "--json").out)["trials"]
        return [trial["state"] for trial in trials].count("held") == count

    wait_for(held, 120)
    return lab.call("status", "four").out


def test_a_line_of_setup_that_fails_stops_its_job_and_the_rest_is_held_until_retry(lab: Lab):
    sweep = lab.write(FOUR + "failures: {unattended: true}\n", "four.yaml")
    ran_on = lab.folder / "ran-on"
    setup = ["[ -e /nonesuch ] && true", "module load nonesuch", f"touch {ran_on}"]
    assert lab.call("submit", sweep, "--site", lab.site(setup=setup)).code == 0
    said = _await_held(lab, 4)
    assert f"4 {HELD}" in said
    assert "setup of the site profile failed with exit code 127 at: module load nonesuch" in said
    assert "thermolion retry four" in said
    assert not ran_on.exists()
    wait_for(lambda: not any(name.startswith("four-") for name in lab.squeue()))
    assert "nothing to send" in lab.call("submit", sweep).out
    assert len(read_submissions(lab.layout("four"))) == 1  # by nobody else either
    assert lab.call("retry", sweep, "--site", lab.site(setup=setup[:1])).code == 0
    lab.await_results("four", 4)


def test_a_python_that_is_not_there_is_named_and_what_is_not_sent_yet_never_is(limited, tmp_path):
    lab = Lab(limited, tmp_path)
    site = lab.site(python="/nonesuch/python3", limits={"submit": 3}, sbatch_on_nodes=False)
    sweep = lab.write(FOUR, "four.yaml")
    assert lab.call("submit", sweep, "--site", site).code == 0
    wait_for(lambda: lab.squeue() == [], 120)
    lab.call("submit", sweep, "--site", site)
    said = _await_held(lab, 4)
    assert "/nonesuch/python3: No such file or directory" in said
    assert lab.squeue() == []
    assert len(read_submissions(lab.layout("four"))) == 1
    study = open_study("four", lab.root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.cluster.environment.items():
            patch.setenv(name, value)
        given_up = list_given_up(read_status(study))
    assert set(given_up.values()) == {"NEVER_STARTED"}  # which says nothing of a candidate
    assert len(given_up) == 4
