"""A real SLURM for the tests: two clusters for the session, with and without accounting."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_for
from slurm_lab import SMALL, Lab, cluster_of

from slurm.dev_cluster import Cluster
from slurm.dev_config import Shape


@pytest.fixture(scope="session")
def limited() -> Iterator[Cluster]:
    """A cluster with accounting, arrays of 51 and 20 jobs a user."""
    shape = Shape(nodes=1, cpus=3, accounting=True, max_array_size=51, submit_cap=20)
    with cluster_of(shape) as made:
        yield made


@pytest.fixture(scope="session")
def plain() -> Iterator[Cluster]:
    """A cluster without accounting: no sacct, no limits."""
    with cluster_of(Shape(nodes=2)) as made:
        yield made


@pytest.fixture
def lab(plain: Cluster, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(plain, tmp_path)
    yield made
    plain.ask("scancel", "--user", str(os.geteuid()))  # what a failed test has left there
    wait_for(lambda: made.squeue() == [])


@pytest.fixture
def small(lab: Lab) -> Path:
    """A sweep of four trials that train in a fraction of a second each."""
    return lab.write(SMALL)
