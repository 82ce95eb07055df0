"""A small job goes on with a study by the profile of its user, and is told of if it fails."""

import json
from pathlib import Path

import pytest
from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import WAITS, odd
from toml_text import toml

from jobs.contract.layout import Layout

# Its process is killed the first time: the small job sends it again.
DIES_ONCE = """\
import os, signal
from pathlib import Path

def train(trial, context):
    if not Path("GO").exists():
        Path("GO").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    context.log(1, loss=0.5)
    return {"loss": 0.5}
"""
UNATTENDED = "failures: {unattended: true, lost: {backoff: 0s}}\n"


def _profile(lab: Lab, folder: Path, **more: object) -> str:
    """Write a profile that is chosen by its name; return the folder of such settings."""
    keys = {"cpu_fallback": True, "status_every": "2s", "python": lab.python} | more
    sites = folder / "thermolion" / "sites"
    sites.mkdir(parents=True)
    (sites / "mine.toml").write_text(toml(keys))
    return str(folder)


def test_what_follows_goes_as_the_first_was_sent_though_no_profile_is_on_the_node(lab, tmp_path):
    sweep, _ = odd(lab, DIES_ONCE, UNATTENDED)
    options = {"comment": "mine", "export": "NONE"}
    setup = ["export MINE=here"]
    config = _profile(lab, tmp_path / "config", setup=setup, options=options)
    said = lab.call("submit", sweep, "--site", "mine", XDG_CONFIG_HOME=config)
    assert said.code == 0, said.err
    lab.await_results("odd", 1)
    assert _folders(lab.layout("odd")) == ["0001", "0002"]
    scripts = (lab.layout("odd").submission("0002") / "scripts").glob("*_submission.sh")
    (sent,) = (text for path in scripts if "slurm.node" in (text := path.read_text()))
    assert "#SBATCH --comment=mine\n" in sent
    assert "#SBATCH --export=NONE\n" in sent
    assert "\nexport MINE=here\n" in sent
    assert f"exec {lab.python} -P -m thermolion.start slurm.node" in sent
    assert _notes(lab, "odd") == []


def _folders(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.submissions.iterdir())


def _notes(lab: Lab, study: str) -> list[str]:
    notes: list[str] = json.loads(lab.call("status", study, "--json").out)["notes"]
    return notes


def test_a_study_is_sent_again_by_its_name_alone_as_it_was_before(lab, tmp_path):
    sweep, go = odd(lab, WAITS)
    later = {"begin": "now+1hour", "comment": "mine"}
    config = _profile(lab, tmp_path / "config", options=later)
    shell = {"THERMOLION_SITE": "mine", "SBATCH_PARTITION": "urgent", "SBATCH_TIMELIMIT": "77"}
    assert lab.call("submit", sweep, XDG_CONFIG_HOME=config, **shell).code == 0
    go.touch()
    assert lab.call("cancel", "odd").code == 0
    planned = lab.call("plan", "odd", THERMOLION_SITE="")
    assert "#SBATCH --comment=mine" in planned.out, planned.err
    assert "#SBATCH --partition=urgent" in planned.out
    assert "#SBATCH --time=77" in planned.out
    _rewrite(tmp_path / "config", comment="yours")  # it is read again, as long as it is there
    again = lab.call("plan", "odd", THERMOLION_SITE="").out
    assert "#SBATCH --comment=yours" in again
    assert "#SBATCH --partition=urgent" in again
    at = Path(config, "thermolion", "sites")
    for named in ("mine.toml", at / "mine.toml"):  # counted from where it lies; and here as well
        again = lab.call("plan", "odd", THERMOLION_SITE=str(named)).out
        assert "#SBATCH --comment=yours" in again
        assert "#SBATCH --partition=urgent" in again
    said = lab.call("plan", "odd", "--site", "theirs")
    assert (said.code, "unknown site 'theirs'" in said.err) == (2, True)


def _rewrite(config: Path, **options: str) -> None:
    path = config / "thermolion" / "sites" / "mine.toml"
    path.write_text(toml({"cpu_fallback": True, "options": options}))


@pytest.mark.parametrize("how", ["refused", "killed"])
def test_a_small_job_that_fails_is_told_of_until_its_user_submits(lab, how):
    sweep, go = odd(lab, DIES_ONCE if how == "refused" else WAITS, UNATTENDED)
    setup = [f"test -e {go} && exit 3 || true"] if how == "killed" else []
    if how == "refused":
        # Its data are gone when the small job looks.
        (lab.folder / "data").mkdir()
        setup = [f"rmdir {lab.folder / 'data'} || true"]
    site = lab.site(setup=setup)
    more = ("--data", lab.folder / "data") if how == "refused" else ()
    assert lab.call("submit", sweep, "--site", site, *more).code == 0
    if how == "killed":
        lab.await_running("odd", 1)
        go.touch()
    wait_for(lambda: not any(name.startswith("odd-") for name in lab.squeue()))
    (note,) = _notes(lab, "odd")
    assert note.startswith("the job (")
    reason = "does not exist: point --data at a folder" if how == "refused" else "is gone before"
    assert reason in note
    assert "then `thermolion submit` goes on with the study" in note
    assert "Traceback" not in (lab.layout("odd").submission("0001") / "after.log").read_text()
    (lab.folder / "data").mkdir(exist_ok=True)
    assert lab.call("submit", sweep, "--site", lab.site(), *more).code == 0
    assert not any("looks after" in note for note in _notes(lab, "odd"))


def test_a_study_that_was_recorded_without_its_profile_is_read_and_sent_by_the_present_one(lab):
    sweep, go = odd(lab, WAITS)
    go.touch()
    later = lab.site(options={"begin": "now+1hour"})
    assert lab.call("submit", sweep, "--site", later).code == 0
    _age(lab.layout("odd"))
    assert "1 queued" in lab.call("status", "odd").out
    assert lab.call("cancel", "odd").code == 0
    said = lab.call("submit", "odd", "--site", lab.site(options={"comment": "now"}))
    assert said.code == 0, said.err
    lab.await_results("odd", 1)


def _age(layout: Layout) -> None:
    """Take out of the records of a study what was not kept in them at first."""
    for path in layout.submissions.glob("0001/submission.json"):
        record = json.loads(path.read_text())
        for name in ("profile", "arrays"):
            del record["request"][name]
        path.write_text(json.dumps(record))
    for path in layout.submissions.glob("0001/chunks/*.json"):
        record = json.loads(path.read_text())
        del record["single"]
        path.write_text(json.dumps(record))
