"""The cluster on one machine, brought up and down as its user does."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_for
from slurm_lab import Said, call, require_slurm, short_folder

from slurm.devcluster.cluster import read_cluster
from slurm.devcluster.config import Shape


@pytest.fixture
def folder() -> Iterator[Path]:
    require_slurm(Shape())
    with short_folder() as made:
        yield made
        _cluster("down", "--dir", made)


def _cluster(*arguments: object) -> Said:
    return call("cluster", *arguments)


def _pids(folder: Path) -> dict[str, int]:
    records = (folder / "run").glob("*.pid")
    return {record.stem: json.loads(record.read_text())["pid"] for record in records}


def test_up_and_down_twice_and_up_after_a_crash(folder):
    first = _cluster("up", "--dir", folder, "--nodes", 2)
    assert first.code == 0, first.err
    assert f"export SLURM_CONF={folder}/etc/slurm.conf" in first.out
    assert first.err.endswith(f"in the end: thermolion cluster down --dir {folder}\n")
    before = _pids(folder)
    assert before.keys() == {"munged", "slurmctld", "slurmd.n1", "slurmd.n2"}

    profile = folder / "site.toml"
    profile.write_text(profile.read_text() + "requeue = false\n")  # by its user
    assert _cluster("up", "--dir", folder, "--nodes", 2).out == first.out
    assert _pids(folder) == before
    assert profile.read_text().endswith("requeue = false\n")

    other = _cluster("up", "--dir", folder, "--nodes", 3)
    assert other.code == 1
    assert "up with other settings (nodes 2" in other.err

    made = read_cluster(folder)
    assert made is not None
    made.ask("scontrol", "update", "nodename=n2", "state=drain", "reason=test")  # as SLURM does
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert "slurmctld    down" in _cluster("status", "--dir", folder).out
    again = _cluster("up", "--dir", folder, "--nodes", 2)
    assert again.code == 0, again.err
    status = _cluster("status", "--dir", folder)
    assert status.code == 0
    assert "node n1      idle" in status.out
    assert "node n2      idle" in status.out

    assert "4 daemons stopped" in _cluster("down", "--dir", folder).out
    assert "no cluster is up" in _cluster("down", "--dir", folder).out
    assert _cluster("status", "--dir", folder).code == 1


def test_a_folder_with_a_space_in_its_name_will_do(folder):
    place = folder / "my é cluster"
    said = _cluster("up", "--dir", place, "--nodes", 1)
    assert said.code == 0, said.err
    assert f"export SLURM_CONF='{place}/etc/slurm.conf'\n" in said.out
    status = _cluster("status", "--dir", place)
    assert "node n1      idle" in status.out
    assert said.out in status.out
    made = read_cluster(place)
    assert made is not None
    assert made.ask("srun", "echo", "runs") == "runs\n"
    assert "3 daemons stopped" in _cluster("down", "--dir", place).out


@pytest.mark.parametrize(
    "words",
    [
        ("--dir", r"back\slash"),
        ("--dir", "50%"),
        ("--dir", "a b", "--accounting"),
        ("--nodes", 0),
        ("--cpus", 0),
    ],
)
def test_what_no_cluster_can_have_is_refused_before_anything_starts(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    said = _cluster("up", *(("--dir", "x") if words[0] != "--dir" else ()), *words)
    assert said.code == 2, said.err
    assert re.search(r"name another --dir|not between 1 and", said.err)
    assert not list(tmp_path.iterdir())


def test_a_job_does_not_outlive_a_cluster_that_has_crashed(folder):
    up = _cluster("up", "--dir", folder, "--nodes", 1)
    assert up.code == 0, up.err
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\nln -s $$ {folder}/job\nexec sleep 600\n")
    made = read_cluster(folder)
    assert made is not None
    made.ask("sbatch", "--output=/dev/null", str(script))
    wait_for((folder / "job").is_symlink)
    pid = int(str((folder / "job").readlink()))
    os.kill(_pids(folder)["slurmctld"], signal.SIGKILL)
    _cluster("down", "--dir", folder)
    wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_pid_that_somebody_else_has_now_is_left_alone(folder):
    _cluster("up", "--dir", folder, "--nodes", 1)
    _cluster("down", "--dir", folder)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        record = {"host": socket.gethostname(), "pid": bystander.pid, "start": 1}
        (folder / "run" / "slurmctld.pid").write_text(json.dumps(record))
        assert "no cluster is up" in _cluster("down", "--dir", folder).out
        assert bystander.poll() is None
        bystander.kill()


def _open_files(pid: int) -> list[str]:
    """Return what the descriptors of a process lead to; it may close some meanwhile."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def test_it_listens_on_loopback_alone(limited):
    pids = {limited.daemons.process(name).pid for name in limited.expected}
    listening = []
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        listening += [(row[1].partition(":")[0], row[9]) for row in rows if row[3] == "0A"]
    links = [link for pid in pids for link in _open_files(pid)]
    theirs = {link[8:-1] for link in links if link.startswith("socket:")}
    addresses = {address for address, inode in listening if inode in theirs}
    assert addresses == {"0100007F"}  # 127.0.0.1
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = json.loads((limited.paths.folder / "cluster.json").read_text())["ports"]
    # Those that connections are given could be taken before a daemon listens.
    assert max(ports["controller"], ports["accounting"], *ports["nodes"]) < given
    assert limited.ask("sacctmgr", "-n", "-P", "show", "cluster").startswith("thermolion|")


def test_its_database_shares_no_folder_with_another_one(limited):
    """One that starts removes what it takes for leftovers: of all that have the same folder."""
    process = limited.daemons.process("mariadbd")
    files = [
        link
        for link in _open_files(process.pid)
        if link.startswith("/") and not link.startswith("/dev/")
    ]
    assert files
    assert [file for file in files if not file.startswith(f"{limited.paths.folder}/")] == []


def test_missing_packages_are_named(tmp_path):
    said = subprocess.run(
        [sys.executable, "-P", "-c", _WITHOUT_SLURM, str(tmp_path / "c")],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 1
    assert "apt-get install munge slurm-wlm mariadb-server mariadb-client slurmdbd" in said.stderr


# The folders that distributions keep daemons in are looked at whatever PATH is.
_WITHOUT_SLURM = """
import sys
from slurm.devcluster import daemons
daemons._SBIN = ""
from orchestrator.cli.main import main
sys.exit(main(["cluster", "up", "--accounting", "--dir", sys.argv[1]]))
"""


def test_a_folder_with_too_long_a_name_is_refused(tmp_path):
    require_slurm(Shape())
    said = _cluster("up", "--dir", tmp_path / ("long" * 30))
    assert said.code == 1
    assert "name a shorter --dir" in said.err
