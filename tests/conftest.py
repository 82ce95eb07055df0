"""What several test folders share: where the real image sets lie, and which tests go together."""

import os
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Clusters are started once for all tests of such a folder.
_TOGETHER = ("tests/slurm/",)
# What takes longest begins.
_FIRST = (*_TOGETHER, "tests/chaos/", "tests/orchestrator/test_survival.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to tell, whichever process has run them."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in report.user_properties:
                if name == "tells":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.write_line(str(text))


class ByFile(LoadScopeScheduling):
    """Gives each process whole files, and whole folders where tests share a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        together = (folder for folder in _TOGETHER if nodeid.startswith(folder))
        return next(together, nodeid.partition("::")[0])


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
