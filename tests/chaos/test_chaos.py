"""A study on a real cluster under faults of all kinds ends as one that nobody touched."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import KINDS, SUBMIT_KILLED
from file_faults import can_lock, can_mark
from runner import run_chaos, run_undisturbed
from schedule import draw
from slurm_lab import Lab, cluster_of, require_slurm
from subject import TRIALS
from table import table

from slurm.devcluster.cluster import Cluster
from slurm.devcluster.config import Shape

SEED = int(os.environ.get("CHAOS_SEED", "1"))
FAULTS = int(os.environ.get("CHAOS_FAULTS", "18"))
# Room for all trials of two ranks, and for others beside them: whoever is to be hit is there.
# A site that has no time to lose.
SHAPE = Shape(nodes=2, cpus=4, gpus=0, accounting=True, grace_s=4, kill_wait_s=3)


@pytest.fixture
def cluster(warm: str, tmp_path: Path) -> Iterator[Cluster]:
    require_slurm(SHAPE)
    if not (can_lock(tmp_path) and can_mark(tmp_path)):
        reason = "faults of files need root, chattr and a file system with attributes"
        if "slurm" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    with cluster_of(SHAPE, warm) as made:
        yield made


def test_a_study_under_faults_of_all_kinds_loses_and_doubles_nothing(
    cluster, warm, tmp_path, record_property
):
    lab = Lab(cluster, tmp_path / "chaos", warm)
    lab.folder.mkdir()
    reference = run_undisturbed(Lab(cluster, tmp_path / "undisturbed", warm))
    run, verdict = run_chaos(lab, SEED, FAULTS, reference)
    seconds = f"CHAOS_SEED={SEED}, {run.seconds:.0f} s"
    record_property("tells", f"{table([verdict], TRIALS)}\n{seconds}")
    assert not verdict.wrong, "\n".join([*verdict.wrong, *run.lines])
    assert set(verdict.faults) == set(KINDS)
    assert sum(verdict.faults.values()) >= FAULTS - FAULTS // 8


def test_a_seed_says_what_is_done_and_no_kind_is_left_out():
    drawn = [draw(seed, FAULTS, list(KINDS), SUBMIT_KILLED) for seed in (SEED, SEED, SEED + 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all({planned.kind for planned in one} == set(KINDS) for one in drawn)
    assert drawn[0][0].kind == SUBMIT_KILLED
