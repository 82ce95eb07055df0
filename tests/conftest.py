"""What several test folders share: where the real image sets lie."""

import os
from pathlib import Path

import pytest


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
