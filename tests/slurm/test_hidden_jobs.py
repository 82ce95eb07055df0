"""Sites that hide jobs of others, machines without names of users: nothing is sent again.

To be another user, or to have another list of users, needs root: skipped without.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_lab import COMMAND, Lab
from slurm_trainings import waiting

from orchestrator.backends.records import read_submissions
from tracking.outcomes import read_outcomes

OTHER = 1  # a user of every Linux
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def private(lab: Lab) -> Iterator[Lab]:
    """A lab whose site hides jobs from all but their user, with a study that runs."""
    conf = lab.cluster.paths.slurm_conf
    before, folder = conf.read_text(), lab.cluster.paths.folder
    sweep, go = waiting(lab)
    assert lab.call("submit", sweep, "--site", lab.site()).code == 0
    lab.await_running("waiting", 2)
    for opened in (folder, folder / "etc", folder / "run"):
        opened.chmod(0o755)
    try:
        conf.write_text(f"{before}PrivateData=jobs\n")
        lab.cluster.ask("scontrol", "reconfigure")
        yield lab
        go.touch()
        lab.await_results("waiting", 2)
        outcomes = read_outcomes(lab.layout("waiting").events).values()
        assert [outcome.attempts for outcome in outcomes] == [1, 1]
    finally:
        conf.write_text(before)
        lab.cluster.ask("scontrol", "reconfigure")


def _opened(path: Path) -> None:
    """Let everybody write below a folder, as in the root of a group, and come to it."""
    for one in [path, *path.rglob("*")]:
        one.chmod(0o777 if one.is_dir() else 0o666)
    for parent in path.parents:
        if parent not in (Path("/"), Path("/tmp")):
            parent.chmod(0o755)


def _as_other(lab: Lab, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run the command line as another user."""
    become = [shutil.which("setpriv") or "", f"--reuid={OTHER}", f"--regid={OTHER}"]
    python = [sys.executable, *COMMAND]
    return subprocess.run(
        [*become, "--clear-groups", *python, *map(str, words)],
        cwd=lab.folder,
        env=lab.environment,
        capture_output=True,
        text=True,
    )


def test_another_user_whom_the_site_hides_the_jobs_from_sends_nothing_again(private):
    _opened(private.folder)
    said = _as_other(private, "status", "waiting", "--json")
    assert said.returncode == 0, said.stderr
    status = json.loads(said.stdout)
    assert {trial["state"] for trial in status["trials"]} == {"running"}
    (note,) = status["notes"]
    assert "this site hides the jobs of user 0 (PrivateData): look as that user" in note
    said = _as_other(private, "submit", "waiting")
    assert len(read_submissions(private.layout("waiting"))) == 1, said.stdout
    said = _as_other(private, "studies")
    assert "2 jobs of which nobody knows here (this site hides the jobs of user 0" in said.stdout


def test_a_machine_that_has_no_name_for_its_user_sees_all_the_same(lab):
    sweep, go = waiting(lab)
    assert lab.call("submit", sweep, "--site", lab.site()).code == 0
    lab.await_running("waiting", 2)
    users = lab.write("nobody:x:65534:65534::/:/bin/sh\n", "passwd")
    mount = ["unshare", "--mount", "sh", "-c"]
    mount += [f'mount --bind {users} /etc/passwd && exec "$@"', "sh", sys.executable, *COMMAND]

    def without_names(*words: str) -> str:
        done = subprocess.run(
            [*mount, *words], cwd=lab.folder, env=lab.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    status = json.loads(without_names("status", "waiting", "--json"))
    assert {trial["state"] for trial in status["trials"]} == {"running"}
    assert status["notes"] == []
    assert "nothing to send" in without_names("submit", "waiting")
    go.touch()
    lab.await_results("waiting", 2)
    assert len(read_submissions(lab.layout("waiting"))) == 1
