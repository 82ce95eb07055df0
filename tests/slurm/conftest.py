"""A real SLURM for the tests: two clusters for the session, with and without accounting.

The Python that their site profiles name has loaded torch already.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_for
from slurm_lab import SMALL, Lab, cluster_of

from slurm.devcluster.cluster import Cluster
from slurm.devcluster.config import Shape


@pytest.fixture(scope="session")
def limited(warm: str) -> Iterator[Cluster]:
    """A cluster with accounting, arrays of 51 and 20 jobs a user."""
    shape = Shape(nodes=1, cpus=3, accounting=True, max_array_size=51, submit_cap=20)
    with cluster_of(shape, warm) as made:
        yield made


@pytest.fixture(scope="session")
def plain(warm: str) -> Iterator[Cluster]:
    """A cluster without accounting: no sacct, no limits."""
    with cluster_of(Shape(nodes=2), warm) as made:
        yield made


@pytest.fixture
def lab(plain: Cluster, warm: str, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(plain, tmp_path, warm)
    yield made
    plain.ask("scancel", "--user", str(os.geteuid()))  # what a failed test has left there
    wait_for(lambda: made.squeue() == [])


@pytest.fixture
def small(lab: Lab) -> Path:
    """A sweep of four trials that train in a fraction of a second each."""
    return lab.write(SMALL)
