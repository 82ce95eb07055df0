"""What is used of submitit beside what it publishes: fails if another version has changed it."""

import inspect
from pathlib import Path

import pytest
from submitit.slurm import slurm as submitit_slurm

from slurm.request import JobResources, job_request
from slurm.sbatch import SubmitOptions, submit
from slurm.site.site import Site
from slurm.slurm_errors import NoAnswer


def _names(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_the_script_is_made_of_keywords_with_the_command_as_it_is(tmp_path: Path) -> None:
    assert {"command", "folder", "job_name", "dependency", "signal_delay_s", "setup"} <= set(
        _names(submitit_slurm._make_sbatch_string)
    )
    script = submitit_slurm._make_sbatch_string(
        command="srun my command",
        folder=tmp_path,
        job_name="a-name",
        setup=["module load x"],
        additional_parameters={"array": "0-3"},
    )
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {"#SBATCH --array=0-3", "#SBATCH --job-name=a-name", "module load x"} <= set(lines)
    assert lines[-1].endswith("srun my command")


def test_an_sbatch_that_ends_well_but_names_no_job_may_have_sent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    request = job_request(tmp_path, JobResources(), Site())
    with pytest.raises(NoAnswer, match="does not say which job"):
        submit(request, SubmitOptions("s-0001.0", "0-0"), tmp_path / "scripts")
