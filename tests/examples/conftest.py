"""What the tests of examples and of their page share: a copy of a folder, and the command line."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

Thermolion = Callable[..., "subprocess.CompletedProcess[str]"]


@cache
def _torchvision_is_imported_as_it_is() -> bool:
    done = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True
    )
    if done.returncode and "torchvision::nms does not exist" not in done.stderr:
        pytest.fail(done.stderr)
    return done.returncode == 0


@pytest.fixture
def thermolion(tmp_path: Path, warm: str) -> Thermolion:
    """Call the command line from a folder; it has to end well. It has loaded torch already."""
    return _caller([warm, "-P", "-m", "orchestrator.cli.main"], tmp_path)


@pytest.fixture
def installed(tmp_path: Path) -> Thermolion:
    """Call the installed command from a folder, as a stranger does; it has to end well."""
    return _caller([str(Path(sys.executable).with_name("thermolion"))], tmp_path)


def _caller(command: list[str], tmp_path: Path) -> Thermolion:
    def call(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
        ours = {"THERMOLION_ROOT": str(tmp_path / "studies")}
        inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        if not _torchvision_is_imported_as_it_is():
            ours["PYTHONPATH"] = str(REPO / "tests" / "support" / "operators")
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=folder,
            env=inherited | ours,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def need() -> Callable[[str], None]:
    """Skip where a package is absent, or fail if REQUIRE names the examples."""

    def check(package: str) -> None:
        if importlib.util.find_spec(package) is None:
            reason = f"needs {package}: pip install {package}"
            if "examples" in os.environ.get("REQUIRE", "").split(","):
                pytest.fail(reason)
            pytest.skip(reason)

    return check
