"""What the doctor says of sites: of recorded ones, word for word, and of a real one."""

import itertools
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from slurm_lab import call

from orchestrator.sweep.site_profile import read_site
from slurm.doctor import nodes
from slurm.queue.squeue import Queue, Queued
from slurm.request import JobResources
from slurm.site.site import Site

SITES = Path(__file__).parent / "sites"


@pytest.mark.parametrize("site", sorted(path.name for path in SITES.iterdir()))
def test_a_recorded_site_is_judged_word_for_word(site):
    folder = SITES / site
    said = call("doctor", "--recorded", folder, "--site", folder / "profile.toml")
    assert said.out == (folder / "verdict.txt").read_text(), said.err
    assert said.code == ("WILL NOT WORK" in said.out)


@pytest.mark.parametrize("site", ["gpus_alone", "typed", "cpus_follow", "capped"])
def test_the_profile_that_it_proposes_works_where_the_present_one_does_not(site, tmp_path):
    folder = SITES / site
    asked = ("--recorded", folder, "--json")
    first = json.loads(call("doctor", *asked, "--site", folder / "profile.toml").out)
    better = tmp_path / "better.toml"
    better.write_text(first["profile"])
    said = call("doctor", *asked, "--site", better)
    assert said.code == 0, said.out
    second = {one["about"]: one for one in json.loads(said.out)["findings"]}
    assert second["GPUs"]["level"] == "ok"
    assert second["queue"]["level"] == "ok"


def test_the_profile_that_it_proposes_keeps_what_only_its_user_knows(tmp_path):
    mine = tmp_path / "mine.toml"
    keys = 'options = {contiguous = true, comment = "a b"}\ndirectives = ["#SBATCH --nice=3"]\n'
    keys += 'image = "/scratch/lab.sif"\nmounts = ["/data"]\n'
    mine.write_text(keys)
    said = call("doctor", "--recorded", SITES / "bare", "--site", mine, "--json")
    better = tmp_path / "better.toml"
    better.write_text(json.loads(said.out)["profile"])
    before, after = read_site(str(mine)), read_site(str(better))
    for name in ("options", "directives", "image", "container", "mounts"):
        assert getattr(before, name) == getattr(after, name)


def test_a_profile_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = SITES / "gpus_alone"
    words = ("--recorded", folder, "--site", folder / "profile.toml", "--write-profile", "lab")
    assert call("doctor", *words).code == 1
    written = tmp_path / "thermolion" / "sites" / "lab.toml"
    assert 'gpus = "gpus"\n' in written.read_text()
    again = call("doctor", *words)
    assert again.code == 2
    assert "is there already" in again.err


def test_an_answer_that_was_not_recorded_is_asked_for_with_its_command(tmp_path):
    copy = shutil.copytree(SITES / "bare", tmp_path / "bare")
    (copy / "sinfo.txt").unlink()
    said = call("doctor", "--recorded", copy)
    assert said.code == 1
    assert "has no sinfo.txt: record it there with sinfo --noheader --exact" in said.err


def test_a_real_site_and_its_nodes_are_looked_at_and_recorded(lab, tmp_path):
    site = lab.site(python=None)
    said = lab.call("doctor", "--nodes", "--site", site, "--record", tmp_path / "answers")
    assert said.code == 0, said.out + said.err
    assert "2 nodes have met after" in said.out
    assert "a file is seen on the other side after" in said.out
    assert f"as here ({sys.executable})" in said.out
    assert "torch sees none: trials run on the CPU (cpu_fallback)" in said.out
    assert "jobs may send jobs" in said.out
    assert list(lab.root.iterdir()) == []
    replayed = lab.call("doctor", "--site", site, "--recorded", tmp_path / "answers")
    head = said.out.partition("requeue")[0].splitlines()
    assert [" ".join(line.split()) for line in head] == [
        " ".join(line.split()) for line in replayed.out.partition("requeue")[0].splitlines()
    ]


def test_a_python_that_the_nodes_do_not_have_is_found_out(lab):
    said = lab.call("doctor", "--nodes", "--site", lab.site(python="/nowhere/python3"))
    assert said.code == 1
    assert "WILL NOT WORK  Python" in said.out
    assert "/nowhere/python3" in said.out
    assert lab.squeue() == []


def test_nodes_that_are_busy_are_waited_for_no_longer_than_asked(lab):
    blocker = lab.occupy()
    said = lab.call("doctor", "--nodes", "--wait", "1s")
    lab.cluster.ask("scancel", blocker)
    assert said.code == 0, said.err
    assert "the job did not start within 1 s" in said.out
    assert "--wait 1h" in said.out


def test_a_job_that_the_queue_shows_late_is_waited_for_all_the_same(tmp_path, monkeypatch):
    shown = Queue((Queued(7, 0, "PENDING", "Priority", 0, "doctor"),))
    answers = itertools.chain([Queue(())], itertools.repeat(shown))
    monkeypatch.setattr(nodes, "submit", lambda *_: "7")
    monkeypatch.setattr(nodes, "ask_if_allowed", lambda _: True)
    monkeypatch.setattr(nodes, "read_jobs", lambda _: next(answers))
    monkeypatch.setattr(nodes, "_ASK_S", 0.2)  # after the end of a job
    begin = time.monotonic()
    (found,) = nodes.check_nodes(Site(status_every_s=0.1), JobResources(), tmp_path, wait_s=1)
    assert "the job did not start within 1 s (Priority)" in found.said
    assert time.monotonic() - begin >= 1


def test_a_machine_without_a_cluster_is_told_the_next_step(tmp_path):
    said = call("doctor", environment={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert said.code == 1
    assert "thermolion cluster up" in said.err
    assert len(said.err.strip().splitlines()) == 1
