"""What several test folders share: where the real image sets lie, and which tests go together."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warm_python import warm_python
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Clusters are started once for all tests of a group: those of limits, and those of the rest.
_SLURM = "tests/slurm/"
_WITH_LIMITS = tuple(
    f"{_SLURM}{name}.py"
    for name in (
        "test_ray",
        "test_limits",
        "test_feed",
        "test_bad_input",
        "devcluster/test_cluster",
    )
)
# What takes longest begins, the longest first.
_FIRST = (_SLURM, "tests/chaos/", "tests/orchestrator/backends/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    begin = (turn for turn, folder in enumerate(_FIRST) if item.nodeid.startswith(folder))
    return next(begin, len(_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are cores: whoever has the clusters mostly waits for SLURM."""
    return (os.cpu_count() or 1) + 1


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
    """Gives each process whole files, and whole groups of files whose tests share a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_WITH_LIMITS):
            return f"{_SLURM} with limits"
        return _SLURM if nodeid.startswith(_SLURM) else nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def warm() -> Iterator[str]:
    """The path of what stands for `python` in tests: it has loaded torch already."""
    with (
        tempfile.TemporaryDirectory(prefix="tl-", dir="/tmp") as folder,  # short, for a socket
        warm_python(Path(folder)) as python,
    ):
        yield python


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MB that can be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        if "mount" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail("a small file system cannot be mounted")
        pytest.skip("a small file system cannot be mounted (needs root): no full disk to try")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., str]:
    """Run a browser without a window; returns what it prints."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        if "browser" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail("REQUIRE names a browser, and there is no chromium on the path")
        pytest.skip("no chromium on the path: no page was looked at")

    def run(*options: str) -> str:
        return subprocess.run(
            [
                found,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--allow-file-access-from-files",
                f"--user-data-dir={tmp_path / 'profile'}",
                *options,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    return run
