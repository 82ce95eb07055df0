"""What several test folders share: where the real image sets lie, and which tests go together."""

import os
from pathlib import Path

import pytest

# Clusters are started once for all tests of the folder; these files take longest and begin.
_TOGETHER = "slurm"
_FIRST = ("tests/chaos", "tests/slurm", "tests/orchestrator/test_survival.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, where several run, and begin with the longest."""
    for item in items:
        folder, _, file = item.nodeid.partition("::")[0].rpartition("/")
        group = folder if folder.endswith(_TOGETHER) else f"{folder}/{file}"
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real image sets; without it a test is skipped, or fails if REQUIRE says so."""
    named = os.environ.get("THERMOLION_DATA")
    if named and Path(named).is_dir():
        return Path(named)
    reason = f"needs real images: THERMOLION_DATA is {named!r}, not a folder"
    if "data" in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)
