"""The wheel: what it carries, and that it works where little is installed and names collide."""

import configparser
import email.message
import email.parser
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import thermolion
from jobs.contract.pack import LANE_ENVIRONMENT

TOP_LEVEL = ("thermolion", "jobs", "slurm", "tracking", "orchestrator")
# pip's words for an index that it cannot reach, as opposed to one that lacks a package.
UNREACHABLE = ("Retrying (", "NewConnectionError", "name resolution", "Network is unreachable")


def _run(
    *command: str | Path, cwd: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command without the PYTHON* variables of this process, with `variables`."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=cwd, env=inherited | variables, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(repo: Path, tracked: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files, so that the repository stays clean."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repo / path, source / path)
    out = tmp_path_factory.mktemp("dist")
    done = _run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=source
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def carried(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def lean(wheel: Path, repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, PyYAML and pydantic, and nothing else."""
    root = tmp_path_factory.mktemp("lean")
    venv.create(root)
    install = (sys.executable, "-m", "pip", "--python", root, "install")
    done = _run(*install, "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    pins = repo / "constraints.txt"
    done = _run(*install, "--retries", "1", "-c", pins, "PyYAML", "pydantic")
    said = done.stdout + done.stderr
    if done.returncode and any(word in said for word in UNREACHABLE):
        named = [line for line in said.splitlines() if line.startswith("Looking in indexes: ")]
        index = named[0].partition(": ")[2] if named else "https://pypi.org/simple"
        pytest.skip(f"needs PyYAML and pydantic, and pip cannot reach {index}")
    assert done.returncode == 0, said
    return root / "bin"


@pytest.fixture
def colliding(tmp_path: Path) -> Path:
    """A user's folder with packages of our names that refuse to be imported."""
    for name in TOP_LEVEL:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise ImportError('the user\\'s own {name}')\n")
    return tmp_path


def test_the_wheel_carries_our_packages_and_its_own_description_only(carried: set[str]) -> None:
    info = f"thermolion-{thermolion.__version__}.dist-info"
    assert {name.partition("/")[0] for name in carried} == {*TOP_LEVEL, info}
    assert f"{info}/licenses/LICENSE" in carried


def test_the_wheel_carries_every_tracked_file_of_the_packages(
    carried: set[str], tracked: list[Path]
) -> None:
    ours = {path.as_posix() for path in tracked if path.parts[0] in TOP_LEVEL}
    assert {name for name in carried if ".dist-info/" not in name} == ours


@pytest.mark.parametrize("package", sorted(TOP_LEVEL))
def test_each_package_says_that_it_is_typed(carried: set[str], package: str) -> None:
    assert f"{package}/py.typed" in carried


def test_the_wheel_carries_every_template_of_the_report(carried: set[str], repo: Path) -> None:
    templates = {
        f"tracking/report/{path.name}" for path in (repo / "tracking/report").glob("*.jinja")
    }
    assert templates
    assert templates <= carried


def test_the_wheel_carries_no_tests(carried: set[str]) -> None:
    paths = [Path(name) for name in carried]
    assert [str(path) for path in paths if path.parts[0] == "tests"] == []
    assert [str(path) for path in paths if path.stem.startswith(("test_", "conftest"))] == []


def _metadata(wheel: Path) -> email.message.Message:
    info = f"thermolion-{thermolion.__version__}.dist-info"
    raw = zipfile.ZipFile(wheel).read(f"{info}/METADATA").decode()
    return email.parser.Parser().parsestr(raw)


def test_the_wheel_has_version_licence_and_one_command(wheel: Path) -> None:
    metadata = _metadata(wheel)
    assert metadata["Version"] == thermolion.__version__
    assert metadata["License-Expression"] == "MIT"
    points = configparser.ConfigParser()
    points.read_string(
        zipfile.ZipFile(wheel)
        .read(f"thermolion-{thermolion.__version__}.dist-info/entry_points.txt")
        .decode()
    )
    assert dict(points["console_scripts"]) == {"thermolion": "thermolion.start:main"}


def test_a_training_node_needs_neither_mlflow_nor_ray(wheel: Path) -> None:
    needed = _metadata(wheel).get_all("Requires-Dist") or []
    always = [line for line in needed if "extra ==" not in line]
    assert any(line.startswith("torch") for line in always)
    assert [line for line in always if line.startswith(("mlflow", "ray", "matplotlib"))] == []


def test_the_installed_command_says_its_version_beside_folders_of_our_names(
    lean: Path, colliding: Path
) -> None:
    done = _run(lean / "thermolion", "--version", cwd=colliding)
    assert (done.stdout, done.stderr) == (f"{thermolion.__version__}\n", "")
    assert done.returncode == 0


def test_the_installed_command_lists_its_verbs_beside_folders_of_our_names(
    lean: Path, colliding: Path
) -> None:
    done = _run(lean / "thermolion", "--help", cwd=colliding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: thermolion ")
    for verb in ("plan", "submit", "run", "status", "compare", "report", "collect"):
        assert f"\n    {verb} " in done.stdout


def test_the_installed_command_plans_without_torch(
    lean: Path, colliding: Path, repo: Path
) -> None:
    sweep = shutil.copy(repo / "sweeps" / "quickstart.yaml", colliding)
    done = _run(lean / "thermolion", "plan", sweep, cwd=colliding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 waiting" in done.stdout
    absent = _run(lean / "python", "-c", "import torch", cwd=colliding)
    assert "No module named 'torch'" in absent.stderr


def test_a_lane_in_its_environment_finds_our_packages_and_not_the_users(
    lean: Path, colliding: Path
) -> None:
    code = "import jobs.contract.pack, tracking; print(jobs.__file__, tracking.__file__)"
    naive = _run(lean / "python", "-c", code, cwd=colliding)
    assert "the user's own jobs" in naive.stderr
    done = _run(lean / "python", "-c", code, cwd=colliding, **LANE_ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert all(place.startswith(str(lean.parent)) for place in done.stdout.split())
