"""Somebody who is not root brings a cluster up, and runs a sweep on it."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_lab import SMALL, require_slurm, short_folder

from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes

NOBODY = "nobody"


@pytest.fixture
def folder() -> Iterator[Path]:
    require_slurm(Shape())
    with short_folder() as made:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(NOBODY)
            os.chown(made, nobody.pw_uid, nobody.pw_gid)
        yield made


def _as_nobody(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script as an ordinary user; root becomes one that may read, and do no more."""
    become: list[str] = []
    if os.geteuid() == 0:
        # The Python of the tests may lie in a folder of root's: reading is all that is kept.
        capability = "+dac_read_search"
        become = ["setpriv", f"--reuid={NOBODY}", "--regid=nogroup", "--clear-groups"]
        become += [f"--inh-caps={capability}", f"--ambient-caps={capability}"]
    program = f"{sys.executable} -P -m orchestrator.cli.main"
    home = {"HOME": str(folder), "USER": NOBODY, "LOGNAME": NOBODY, "MPLCONFIGDIR": str(folder)}
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        [*become, "bash", "-euc", f'thermolion() {{ {program} "$@"; }}\n{script}'],
        cwd=folder,
        env=kept | home | {"THERMOLION_ROOT": str(folder / "studies")},
        capture_output=True,
        text=True,
    )


def test_a_cluster_needs_no_root(folder):
    (folder / "small.yaml").write_text(SMALL)
    done = _as_nobody(
        folder,
        'eval "$(thermolion cluster up --dir c --nodes 1)"\n'
        "trap 'thermolion cluster down --dir c' EXIT\n"
        "id -u\n"
        "thermolion run small.yaml --backend slurm\n"
        "thermolion status small\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] != "0"
    assert "4 completed" in done.stdout
    assert "3 daemons stopped" in done.stdout
    outcomes = read_outcomes(folder / "studies" / "small" / "events")
    assert len(outcomes) == 4
