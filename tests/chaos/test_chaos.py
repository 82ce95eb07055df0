"""A study on a real cluster under faults of all kinds ends as one that nobody touched."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import KINDS
from file_faults import can_lock
from runner import begin_calm, besiege, end_calm
from slurm_lab import Lab, cluster_of
from subject import TRIALS
from table import table

from slurm.dev_cluster import Cluster
from slurm.dev_config import Shape

SEED = int(os.environ.get("CHAOS_SEED", "1"))
FAULTS = int(os.environ.get("CHAOS_FAULTS", "34"))
SHAPE = Shape(nodes=2, cpus=2, gpus=0, accounting=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if not can_lock(tmp_path):
        reason = "needs chattr and extended attributes (root, on a local file system)"
        if "mount" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    with cluster_of(SHAPE) as made:
        yield made


@pytest.mark.skipif(
    "CHAOS_SEED" not in os.environ,
    reason="a siege of many minutes: CHAOS_SEED=1 has it run, `make chaos` one after another",
)
# What MLflow asks of SQLAlchemy is MLflow's to mend.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_study_under_faults_of_all_kinds_loses_and_doubles_nothing(cluster, tmp_path, capsys):
    calm = begin_calm(cluster, tmp_path / "calm")
    (tmp_path / "siege").mkdir()
    siege, verdict = besiege(
        Lab(cluster, tmp_path / "siege"), SEED, FAULTS, lambda: end_calm(calm)
    )
    with capsys.disabled():
        print(f"\nCHAOS_SEED={SEED}\n{table([verdict], TRIALS)}")
    assert not verdict.wrong, "\n".join([*verdict.wrong, *siege.story])
    assert set(verdict.faults) == set(KINDS)
    assert sum(verdict.faults.values()) >= min(30, FAULTS)
