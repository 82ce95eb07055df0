"""What sites put in the place of squeue, over a study that runs: nothing of it is sent again."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_lab import ONE_A_TASK, Lab
from slurm_trainings import waiting

from orchestrator.backends import base
from orchestrator.backends.records import read_submissions
from orchestrator.cli.main import main
from slurm.devcluster.cluster import Cluster
from slurm.submission import ArrayJob, ArrayJobs
from tracking.outcomes import read_outcomes

# An answer lasts for ever, as that of a site does for a minute.
CACHE = """\
answer=CACHE/$(echo "$*" | md5sum | cut -c1-12)
[ -e $answer ] || REAL "$@" > $answer
cat $answer
"""
HEADER_ALONE = 'REAL "$@" | head -n 1'
HIDES_OURS = f'case "$*" in *--user*) {HEADER_ALONE};; *) REAL "$@";; esac'
# What stands in for squeue, and what is said of it, if it is no answer.
STAND_INS = {
    "an error alone": (
        'echo "squeue: error: Invalid user: me" >&2',
        "'squeue: error: Invalid user: me': run `squeue --user=",
    ),
    "an error beside other jobs": (
        f'echo "squeue: error: Invalid user: me" >&2; {HEADER_ALONE}',
        "'squeue: error: Invalid user: me': run `squeue --jobs=",
    ),
    "nothing": ("exit 0", "an empty answer"),
    "a prefix before every line": ('REAL "$@" | sed "s/^/[site] /"', None),
    "a greeting": ('echo "You have 12 jobs"; REAL "$@"', None),
    "lines that are cut off": ('REAL "$@" | cut -c1-30', "the line 'ARRAY_JOB_ID|"),
    "lines that are changed": ('REAL "$@" | sed "2,$ s/|/ /g"', ", which is no job: run `squeue"),
    "a user whose jobs it hides": (HIDES_OURS, None),
    "an old answer": (CACHE, None),
}


class Site:
    """A study that runs on the cluster, sent past a cache; its trials end once they are let go."""

    def __init__(self, cluster: Cluster, folder: Path, warm: str) -> None:
        self.lab = Lab(cluster, folder, warm)
        self._cache = folder / "cache"
        self._cache.mkdir()
        sweep, self._go = waiting(self.lab)
        path = self.path(squeue=CACHE)
        said = self.lab.call("submit", sweep, "--site", self.lab.site(), PATH=path)
        assert said.code == 0, said.err
        self.lab.await_running("waiting", 2)

    def path(self, **scripts: str) -> str:
        """Return a PATH on which commands are other ones; `REAL` in those is the one of SLURM."""
        folder = f"bin-{len(list(self.lab.folder.iterdir()))}"
        path = self.lab.environment["PATH"]
        for command, text in scripts.items():
            path = self.lab.stand_in(command, text.replace("CACHE", str(self._cache)), folder)
        return path

    @property
    def array_job(self) -> ArrayJob:
        (array_job,) = ArrayJobs(self.lab.layout("waiting"), "0001").read()
        return array_job

    def end(self) -> None:
        self._go.touch()
        self.lab.await_results("waiting", 2)


@pytest.fixture(scope="module")
def site(plain: Cluster, warm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(plain, tmp_path_factory.mktemp("site"), warm)
    yield made
    made.end()
    outcomes = read_outcomes(made.lab.layout("waiting").events).values()
    assert [outcome.attempts for outcome in outcomes] == [1, 1]


@pytest.fixture
def runs_on(site, monkeypatch, capsys) -> Callable[..., list[str]]:
    """Look, and send what is missing, in this process; returns the notes, after nothing was sent.

    Other commands may stand in for those of SLURM.
    """

    def look(**scripts: str) -> list[str]:
        for name, text in (site.lab.environment | {"PATH": site.path(**scripts)}).items():
            monkeypatch.setenv(name, text)
        base._load.cache_clear()  # it remembers queues, as a new process does not
        assert main(["status", "waiting", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert {trial["state"] for trial in said["trials"]} == {"running"}
        main(["submit", "waiting"])
        assert len(read_submissions(site.lab.layout("waiting"))) == 1
        notes: list[str] = said["notes"]
        return notes

    return look


@pytest.mark.parametrize("stand_in", STAND_INS)
def test_a_study_that_runs_is_neither_lost_nor_sent_again(runs_on, stand_in):
    script, complaint = STAND_INS[stand_in]
    notes = runs_on(squeue=script)
    assert len(notes) == (complaint is not None)
    assert complaint is None or complaint in notes[0]


@pytest.mark.parametrize("renamed", ["", "another"])
def test_what_sacct_calls_running_is_not_sent_again_though_squeue_has_forgotten_it(
    site, runs_on, renamed
):
    job, name = site.array_job.id, renamed or site.array_job.name
    living = "; ".join(
        f"echo '{job}_{pack}|{job}|RUNNING|n1|{name}'" for pack in site.array_job.packs
    )
    (note,) = runs_on(squeue=HEADER_ALONE, sacct=living)
    assert f"sacct says RUNNING of job {job}_0, which squeue does not know" in note


@pytest.mark.parametrize("script", ['REAL "$@"', HIDES_OURS])
def test_a_job_that_somebody_has_renamed_is_still_ours(site, runs_on, script):
    rename = ("scontrol", "update", f"jobid={site.array_job.id}")
    site.lab.cluster.ask(*rename, "jobname=another")
    assert "another" in site.lab.squeue()
    try:
        assert runs_on(squeue=script) == []
    finally:
        site.lab.cluster.ask(*rename, f"jobname={site.array_job.name}")


def test_who_a_shell_says_its_user_is_does_not_matter(site, tmp_path):
    lab = Lab(site.lab.cluster, tmp_path, site.lab.python)
    sweep = lab.write(ONE_A_TASK + "failures: {never_started: {backoff: 0s}}\n")
    held = lab.site(options={"begin": "now+1hour"})
    for _ in range(2):
        said = lab.call("submit", sweep, "--site", held, LOGNAME="somebody", USER="somebody")
        assert said.code == 0, said.err
    assert len(read_submissions(lab.layout())) == 1
    assert lab.call("cancel", "small", LOGNAME="somebody").code == 0
    assert not any(name.startswith("small-") for name in lab.squeue())


def test_a_job_whose_id_was_never_told_is_found_though_the_queue_is_an_old_one(site, tmp_path):
    lab = Lab(site.lab.cluster, tmp_path, site.lab.python)
    sweep, later = lab.write(ONE_A_TASK), lab.site(options={"begin": "now+1hour"})
    path = site.path(squeue=CACHE, sbatch='REAL "$@"; kill -9 $PPID')
    killed = lab.call("submit", sweep, "--site", later, PATH=path)
    assert killed.code == -signal.SIGKILL
    (array_job,) = ArrayJobs(lab.layout(), "0001").read()
    assert array_job.id is None
    said = lab.call("submit", sweep, "--site", later, PATH=site.path(squeue=CACHE))
    assert said.code == 0, said.err
    assert sum(name.startswith("small-") for name in lab.squeue()) == 2
    (found,) = ArrayJobs(lab.layout(), "0001").read()
    assert found.name == array_job.name
    assert lab.call("cancel", "small").code == 0
