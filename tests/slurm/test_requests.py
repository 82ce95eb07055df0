"""The batch scripts of sites with different dialects, word for word."""

import sys
from pathlib import Path

import pytest
from toml_text import toml

from orchestrator.sweep.document import SweepError
from orchestrator.sweep.site_profile import read_site
from slurm.request import JobResources, feeder_request, job_request
from slurm.sbatch import SubmitOptions, render

GOLDEN = Path(__file__).parent / "golden"
FOLDER = Path("/shared/studies/s/submissions/0001")

SITES = {
    # GPUs as generic resources of a type, an account and a constraint, modules.
    "gres": (
        """
account = "lab-gpu"
partition = "gpu"
constraint = "a100&nvlink"
gpu_type = "a100"
setup = ["module purge", "module load python/3.11"]
time = "20h"
python = "python3"
""",
        JobResources(nodes=2, tasks_per_node=4, gpus_per_node=4, cpus_per_task=8, time_min=720),
    ),
    # --gpus counts those of the whole job; CPUs follow the GPUs and are refused.
    "gpus": (
        """
account = "p1234"
gpus = "gpus"
cpus_with_gpus = false
qos = "long"
python = "python3"
""",
        JobResources(gpus_per_node=1, cpus_per_task=4),
    ),
    # --gpus-per-node, several trials on one GPU, whole nodes only.
    "gpus-per-node": (
        """
partition = "accelerated"
gpus = "gpus-per-node"
gpu_type = "h100"
grace = "5min"
options = {exclusive = "user", licenses = "scratch"}
python = "apptainer exec --nv image.sif python3"
""",
        JobResources(tasks_per_node=3, gpus_per_node=1, lanes=3, mem="60G", time_min=90),
    ),
    # No word for GPUs: the partition is given with them.
    "none": (
        'partition = "dgx"\ngpus = "none"\npython = "python3"',
        JobResources(gpus_per_node=1, cpus_per_task=2),
    ),
    # An image for Apptainer, its studies and data by the same paths as outside.
    "apptainer": (
        """
partition = "gpu"
image = "/scratch/me/lab image.sif"
shared = ["/scratch"]
mounts = ["/data:/data:ro"]
""",
        JobResources(gpus_per_node=1, cpus_per_task=8),
    ),
    # An image of a registry or of enroot, which the pyxis plugin of srun runs; one process, too.
    "pyxis": (
        """
partition = "gpu"
gpus = "gpus-per-node"
image = "nvcr.io#nvidia/pytorch:25.09-py3"
container = "pyxis"
python = "python"
mounts = ["/data"]
""",
        JobResources(nodes=2, tasks_per_node=2, gpus_per_node=2, cpus_per_task=4),
    ),
    "pyxis-one": (
        'image = "/scratch/lab.sqsh"\ncontainer = "pyxis"',
        JobResources(cpus_per_task=2),
    ),
    # CPUs alone, as SLURM comes.
    "cpu": ('python = "python3"', JobResources(cpus_per_task=4, mem="8G")),
}


@pytest.mark.parametrize("name", SITES)
def test_a_site_gets_its_own_words(name, tmp_path):
    profile, resources = SITES[name]
    path = tmp_path / f"{name}.toml"
    path.write_text(profile)
    sending = SubmitOptions("s-0001.0", "0-99%8", "afterany:17")
    script = render(job_request(FOLDER, resources, read_site(str(path))), sending, FOLDER)
    assert script == (GOLDEN / f"{name}.sh").read_text()


def test_what_has_to_reach_sbatch_runs_outside_the_image(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(toml({"image": "lab.sif", "python": "python3.12"}))
    site = read_site(str(path))
    script = render(
        feeder_request(FOLDER, Path("/shared/studies"), "s", site), SubmitOptions("s"), FOLDER
    )
    assert f"exec {sys.executable} -P -m thermolion.start slurm.feed" in script
    assert "lab.sif" not in script
    job = render(job_request(FOLDER, JobResources(), site), SubmitOptions("s"), FOLDER)
    assert (
        f"/shared/studies {tmp_path}/lab.sif python3.12 -P -m thermolion.start slurm.node" in job
    )


@pytest.mark.parametrize("key", ["container", "mounts"])
def test_what_is_said_of_an_image_that_is_not_named_is_refused(tmp_path, key):
    path = tmp_path / "site.toml"
    path.write_text(toml({"container": "pyxis"} if key == "container" else {"mounts": ["/data"]}))
    with pytest.raises(SweepError, match=f"line 1: {key}: it is of an image"):
        read_site(str(path))


def test_the_job_that_sends_the_rest_asks_for_one_core_and_no_gpu(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(
        toml(
            {
                "partition": "gpu",
                "account": "lab",
                "setup": ["module load python"],
                "python": "python3",
            }
        )
    )
    request = feeder_request(FOLDER, Path("/shared/studies"), "s", read_site(str(path)))
    script = render(request, SubmitOptions("s-0001-feed", dependency="afterany:17_9"), FOLDER)
    assert script == (GOLDEN / "feeder.sh").read_text()


def test_a_shell_fills_in_what_a_profile_leaves_open(tmp_path, monkeypatch):
    for name in ("PARTITION", "ACCOUNT", "QOS"):
        monkeypatch.setenv(f"SBATCH_{name}", f"my-{name.lower()}")
    path = tmp_path / "site.toml"
    path.write_text(toml({"account": "lab", "python": "python3"}))
    request = job_request(FOLDER, JobResources(), read_site(str(path)))
    script = render(request, SubmitOptions("s-0001.0"), FOLDER)
    assert "#SBATCH --partition=my-partition\n" in script
    assert "#SBATCH --account=lab\n" in script
    assert "#SBATCH --qos=my-qos\n" in script
