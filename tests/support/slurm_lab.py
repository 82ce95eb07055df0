"""A real SLURM for tests, and the command line in a process of its own beside it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from processes import wait_for
from toml_text import toml

from jobs.contract.layout import Layout
from slurm.devcluster.cluster import Cluster, check_packages, make_cluster
from slurm.devcluster.config import Shape
from slurm.slurm_errors import SlurmError
from tracking.outcomes import read_outcomes

SMALL = """\
study: small
defaults: {model: {mlp: {hidden: [16]}}, epochs: 2, global_batch: 32, train_images: 128}
workloads: [{dataset: digits}]
candidates:
  thermolion: {}
  adamw: {lr: 1e-2}
baseline: adamw
seeds: 2
"""
COMMAND = ("-P", "-m", "orchestrator.cli.main")
# Four trials, each a job of its own.
FOUR = """\
study: four
workloads: [{dataset: digits, model: {mlp: {hidden: [8]}}, epochs: 1, train_images: 64}]
candidates: {sgd: {lr: 0.01}}
seeds: 4
backend: slurm
pack: {at_least: 0s}
"""
# Two trials, each a job of its own.
ONE_A_TASK = """\
study: small
workloads: [{dataset: digits, model: {mlp: {hidden: [16]}}, epochs: 1, train_images: 64}]
candidates: {sgd: {lr: 0.1}, adam: {lr: 0.1}}
seeds: 1
backend: slurm
pack: {at_least: 0s}
"""


@dataclass(frozen=True)
class Said:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str


def call(
    *arguments: object,
    python: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Said:
    """Run the command line to its end, with another `python` and `environment` if given."""
    done = subprocess.run(
        [python or sys.executable, *COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Lab:
    """A folder with studies, and a cluster that they are sent to.

    `python` is that of its jobs and of the command line; empty for one that starts anew.
    """

    cluster: Cluster
    folder: Path
    python: str = ""

    @property
    def root(self) -> Path:
        return self.folder / "studies"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
        return kept | self.cluster.environment | {"THERMOLION_ROOT": str(self.root)}

    def layout(self, study: str = "small") -> Layout:
        return Layout(self.root, study)

    def write(self, text: str, name: str = "small.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def site(self, **keys: object) -> Path:
        """Write a site profile for this cluster with some keys; `python=None` is the usual one."""
        known = {"status_every": "2s", "cpu_fallback": True, "python": self.python or None} | keys
        given = {key: value for key, value in known.items() if value is not None}
        return self.write(toml(given), "site.toml")

    def call(self, *arguments: object, **variables: str) -> Said:
        """Run the command line in the folder of the lab, to its end."""
        environment = self.environment | variables
        return call(*arguments, python=self.python, folder=self.folder, environment=environment)

    def another(self, folder: Path) -> "Lab":
        """Return a lab on the same cluster that has a new folder, and so studies of its own."""
        folder.mkdir()
        return replace(self, folder=folder)

    def stand_in(self, command: str, script: str, folder: str = "bin") -> str:
        """Put a script of bash in the place of a command, REAL in it; return the PATH for it."""
        place = self.folder / folder / command
        place.parent.mkdir(exist_ok=True)
        real = shutil.which(command) or ""
        place.write_text("#!/bin/bash\n" + script.replace("REAL", real) + "\n")
        place.chmod(0o755)
        return f"{place.parent}:{self.environment['PATH']}"

    @contextlib.contextmanager
    def submit_plugin(self, lines: str) -> Iterator[None]:
        """Have the controller run lines of Lua on the `job` of every sbatch, as sites do."""
        conf, script = self.cluster.paths.slurm_conf, self.cluster.paths.folder / "etc"
        before = conf.read_text()
        modify = "function slurm_job_modify(...) return slurm.SUCCESS end"
        submit = f"function slurm_job_submit(job, ...)\n{lines}\nreturn slurm.SUCCESS\nend"
        (script / "job_submit.lua").write_text(f"{submit}\n{modify}\n")
        try:
            conf.write_text(f"{before}JobSubmitPlugins=lua\n")
            self.cluster.ask("scontrol", "reconfigure")
            yield
        finally:
            conf.write_text(before)
            self.cluster.ask("scontrol", "reconfigure")

    def occupy(self) -> str:
        """Send a job that takes all nodes for ten minutes; return its id."""
        nodes = f"--nodes={self.cluster.shape.nodes}"
        options = ("--parsable", "--exclusive", nodes, "--output=/dev/null", "--job-name=filler")
        return self.cluster.ask("sbatch", *options, "--wrap=sleep 600").strip()

    def preempt(self) -> None:
        """Have an urgent job take all nodes, and wait until it has begun."""
        begun = self.folder / "urgent"
        nodes = f"--nodes={self.cluster.shape.nodes}"
        options = ("--partition=urgent", "--exclusive", nodes, "--output=/dev/null")
        self.cluster.ask("sbatch", *options, "--job-name=urgent", f"--wrap=touch {begun}")
        wait_for(begun.exists)

    def await_results(self, study: str, count: int) -> None:
        """Wait until so many trials have a result, and no job of the study is in the queue."""
        events = self.layout(study).events
        wait_for(
            lambda: sum(o.has_result for o in read_outcomes(events).values()) == count, seconds=300
        )
        wait_for(lambda: not any(name.startswith(f"{study}-") for name in self.squeue()))

    def await_running(self, study: str, count: int) -> None:
        """Wait until so many trials run, by their own word."""
        events = self.layout(study).events
        wait_for(
            lambda: [o.state for o in read_outcomes(events).values()] == ["running"] * count,
            seconds=300,
        )

    def squeue(self) -> list[str]:
        """Return the names of the jobs in the queue, every array task counted."""
        return self.cluster.ask("squeue", "-h", "-r", "-o", "%j").split()


def require_slurm(shape: Shape) -> None:
    """Skip if SLURM is missing, with the reason; fail if REQUIRE names it."""
    try:
        check_packages(shape)
    except SlurmError as error:
        if "slurm" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder with a name that is short enough for sockets in it, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def cluster_of(shape: Shape, python: str | None = None) -> Iterator[Cluster]:
    """Bring a cluster up, and down again; `python` is what its site profile names, if anything."""
    require_slurm(shape)
    with short_folder() as folder:
        made = make_cluster(folder, shape)
        try:
            made.up()
            if python is not None:
                profile = made.paths.profile
                profile.write_text(profile.read_text() + toml({"python": python}))
            yield made
        finally:
            made.down()
