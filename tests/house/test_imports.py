"""What each part loads: planning is light, the contract is standard library, nodes need little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

HEAVY = {
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "submitit",
    "torch",
    "torchvision",
}
ABSENT_ON_A_NODE = {
    "matplotlib",
    "mlflow",
    "pandas",
    "pydantic",
    "ray",
    "rich",
    "scipy",
    "sklearn",
    "submitit",
    "yaml",
}
CONTRACT = sorted(
    file.relative_to(REPO).with_suffix("").as_posix().replace("/", ".")
    for file in (REPO / "jobs" / "contract").rglob("[a-z]*.py")
)

# Makes the packages named in argv[1] look absent, then imports the rest of argv and says what
# is loaded. None in `sys.modules` is Python's own word for "not to be found", so that whoever
# only asks whether a package is there gets the honest answer, too.
_WITHOUT = """
import importlib, sys

sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
for name in sys.argv[2:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
"""


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, env=environment, capture_output=True, text=True
    )


def _loaded(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Return what `-X importtime` saw, as full names."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def _modules(package: str) -> list[str]:
    paths = sorted((REPO / package).rglob("*.py"))
    return [
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]


@pytest.mark.parametrize("sweep", sorted((REPO / "sweeps").glob("*.yaml")), ids=lambda p: p.name)
def test_planning_a_sweep_loads_nothing_heavy(sweep: Path, tmp_path: Path) -> None:
    done = _python(
        "-X",
        "importtime",
        "-m",
        "orchestrator.cli.main",
        "plan",
        str(sweep),
        "--root",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "trials" in done.stdout
    loaded = _loaded(done)
    assert {"orchestrator.study.trials", "thermolion.registry", "yaml"} <= loaded
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


def test_the_status_of_a_study_loads_nothing_heavy(tmp_path: Path) -> None:
    sweep = str(REPO / "sweeps" / "quickstart.yaml")
    done = _python(
        "-X", "importtime", "-m", "orchestrator.cli.main", "status", sweep, "--root", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "20 waiting" in done.stdout
    assert HEAVY & {name.partition(".")[0] for name in _loaded(done)} == set()


def test_the_contract_modules_together_load_the_standard_library_and_nothing_heavier() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import {', '.join(CONTRACT)}\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})\n"
    )
    done = _python("-c", code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"jobs", "thermolion"}


def test_optimizers_and_jobs_import_with_torch_torchvision_and_numpy_alone() -> None:
    modules = [*_modules("thermolion"), *_modules("jobs")]
    assert {"thermolion.optimizer", "jobs.lane", "jobs.images.trainer"} <= set(modules)
    done = _python("-c", _WITHOUT, ",".join(ABSENT_ON_A_NODE), *modules)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"torch", "numpy"} <= loaded
    assert not loaded & ABSENT_ON_A_NODE


def test_tracking_never_loads_torch() -> None:
    modules = _modules("tracking")
    assert "tracking.compare.compare" in modules
    done = _python("-c", _WITHOUT, "ray", *modules)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "torchvision"} & set(done.stdout.split())


def test_what_is_blocked_cannot_be_imported() -> None:
    done = _python("-c", _WITHOUT, "yaml", "orchestrator.sweep.sweep")
    assert done.returncode == 1
    assert "import of yaml halted" in done.stderr


def test_words_and_numbers_of_results_need_nothing_that_draws_or_browses() -> None:
    absent = "matplotlib,mlflow,pandas,pyarrow,rich,jinja2,tensorboard"
    modules = ("terminal", "numbers", "verdict", "tuning")
    reported = [f"tracking.report.{module}" for module in modules]
    done = _python("-c", _WITHOUT, absent, *reported, "tracking.export.export")
    assert done.returncode == 0, done.stderr
