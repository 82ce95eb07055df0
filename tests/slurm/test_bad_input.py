"""Wrong input, found before anything is sent: one line, exit code 2, and no study left behind."""

import shutil

import pytest
from slurm_lab import SMALL, Lab
from toml_text import toml

from slurm.limits import check_request
from slurm.request import JobResources
from slurm.site.facts import Facts, Partition
from slurm.site.site import Site
from slurm.slurm_errors import SiteError

WRONG = {
    "partition": (
        {"partition": "mian"},
        [],
        "unknown partition 'mian' (site wrong): did you mean",
    ),
    "gpus": ({}, ["resources.gpus_per_node=3"], "resources.gpus_per_node is 3, a node of"),
    "cpus": ({}, ["resources.cpus_per_task=9"], "a job needs 9 CPUs on a node"),
    "nodes": (
        {},
        ["resources.nodes=9"],
        "a trial needs 9 nodes (9 ranks, 1 a node), partition 'main' has 2",
    ),
    "time": (
        {},
        ["resources.time=3d"],
        "resources.time is 4320 min, partition 'main' allows 1440",
    ),
    "memory": (
        {},
        ["resources.mem=5G"],
        "resources.mem is 5G, the largest node of partition 'main' has 4000M",
    ),
    "seconds": ({}, ["resources.time=5s"], "SLURM counts in minutes"),
    "lanes": ({}, ["pack.trials_per_gpu=4"], "a job needs 4 CPUs on a node (4 processes x 1)"),
    "throttle": (
        {},
        ["pack.trials_per_gpu=2", "limits.concurrent=1"],
        "limits.concurrent is 1, and a job runs 2 trials at a time",
    ),
    "folder": ({"shared": ["/nowhere"]}, [], "give --root a folder below /nowhere"),
    "key": ({"partitoin": "main"}, [], "unknown key 'partitoin': did you mean 'partition'?"),
    "dialect": ({"gpus": "gpu"}, [], "gpus: 'gpu' is unknown: did you mean 'gpus'?"),
    "ours": ({"options": {"array": "0-3"}}, [], "array is ours to set"),
    "ours by dashes": ({"options": {"--job-name": "x"}}, [], "job-name is ours to set"),
    "cluster": ({"options": {"clusters": "x"}}, [], "send from a machine of that cluster"),
}


def _profile(lab: Lab, **keys: object) -> str:
    return str(lab.write(toml({"status_every": "2s"} | keys), "wrong.toml"))


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_sends_nothing(lab, small, case):
    keys, sets, message = WRONG[case]
    words = [word for key in sets for word in ("--set", key)]
    said = lab.call(
        *("submit", small, "--backend", "slurm", "--site", _profile(lab, **keys), *words)
    )
    assert said.code == 2, said.err
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not lab.layout().folder.exists()


def test_an_unknown_site_lists_those_there_are(lab, small, tmp_path):
    (tmp_path / "thermolion" / "sites").mkdir(parents=True)
    (tmp_path / "thermolion" / "sites" / "alpha.toml").touch()
    said = lab.call(
        *("submit", small, "--backend", "slurm", "--site", "alhpa"), XDG_CONFIG_HOME=str(tmp_path)
    )
    assert said.code == 2
    assert "did you mean 'alpha'?" in said.err


def test_an_unknown_account_is_named_with_ones_own(limited, warm, tmp_path):
    lab = Lab(limited, tmp_path, warm)
    said = lab.call(
        *("submit", lab.write(SMALL), "--backend", "slurm"),
        *("--site", _profile(lab, account="nobodys")),
    )
    assert said.code == 2, said.err
    assert "unknown account 'nobodys' (site wrong); yours: lab" in said.err


def test_an_account_that_is_missing_is_asked_for():
    main = Partition("main", True, True, None, nodes=1, cpus=1, memory_mb=1, gpus=0)
    facts = Facts(1001, {"main": main}, accounts=frozenset({"a", "b"}))
    with pytest.raises(SiteError, match="names none; yours: a, b"):
        check_request(facts, Site(), JobResources())


def test_what_sbatch_refuses_is_given_up_and_said(limited, warm, tmp_path):
    lab = Lab(limited, tmp_path, warm)
    site = _profile(lab, account="lab", qos="nope")
    said = lab.call("submit", lab.write(SMALL), "--backend", "slurm", "--site", site)
    assert said.code == 1
    assert "sbatch refuses" in said.err
    assert "qos" in said.err.lower()
    assert len(said.err.strip().splitlines()) == 1
    assert "small: 4 waiting" in lab.call("status", "small").out


def test_a_machine_without_slurm_is_told_so(lab, small, tmp_path):
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    if git is not None:
        (tmp_path / "bin" / "git").symlink_to(git)
    said = lab.call("submit", small, "--backend", "slurm", PATH=str(tmp_path / "bin"))
    assert said.code == 2
    assert "this machine has no SLURM" in said.err
    assert "thermolion cluster up" in said.err
    planned = lab.call("plan", small, "--backend", "slurm", PATH=str(tmp_path / "bin"))
    assert planned.code == 0, planned.err
    assert "#SBATCH --array=0-0" in planned.out


def test_lanes_belong_to_this_machine(lab, small):
    said = lab.call("submit", small, "--backend", "slurm", "--lanes", 2)
    assert said.code == 2
    assert "`limits.concurrent`" in said.err


def test_a_controller_that_does_not_answer_is_one_line(lab, small, tmp_path):
    text = lab.cluster.paths.slurm_conf.read_text()
    port = str(lab.cluster.ports.controller)
    elsewhere = tmp_path / "slurm.conf"
    elsewhere.write_text(text.replace(f"SlurmctldPort={port}", "SlurmctldPort=1"))
    said = lab.call("submit", small, "--backend", "slurm", SLURM_CONF=str(elsewhere))
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1


def test_a_profile_in_the_old_format_is_refused_with_the_new_words(lab, small):
    old = lab.write("partition: main\n", "mine.yaml")
    said = lab.call("plan", small, "--backend", "slurm", "--site", old)
    assert said.code == 2
    assert 'is YAML, and site profiles are TOML: write `partition = "gpu"` for' in said.err
    assert "into mine.toml beside it" in said.err


def test_a_profile_that_is_no_toml_is_told_its_line(lab, small):
    site = lab.write('account = "lab"\npartition = main\n', "mine.toml")
    said = lab.call("plan", small, "--backend", "slurm", "--site", site)
    assert said.code == 2
    assert "mine.toml: this is not valid TOML: Invalid value (at line 2, column 13)" in said.err
