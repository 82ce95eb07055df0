"""What the sender has written is seen seconds later on the nodes: their jobs wait for it."""

import time
from pathlib import Path

import pytest
from file_faults import can_mark
from slurm_lab import Lab

from jobs.contract.layout import Layout
from slurm.slurm_errors import SlurmError
from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

# Python imports what lies there before all else: files of other machines are seen late.
SEAM = Path(__file__).parents[1] / "chaos" / "unsteady"
LATE_S = 4


def test_a_job_that_begins_before_its_files_are_seen_waits_for_them(lab: Lab, small: Path) -> None:
    if not can_mark(lab.folder):
        pytest.skip("needs a file system with extended attributes")
    (lab.folder / "seam").mkdir()
    (lab.folder / "seam" / "late").write_text(f"{LATE_S}")
    seam = {"CHAOS": str(lab.folder / "seam"), "CHAOS_STUDY": str(lab.layout().folder)}
    said = lab.call("submit", small, "--backend", "slurm", PYTHONPATH=str(SEAM), **seam)
    assert said.code == 0, said.err
    lab.await_results("small", 4)
    assert {outcome.attempts for outcome in read_outcomes(lab.layout().events).values()} == {1}
    assert [folder.name for folder in lab.layout().submissions.iterdir()] == ["0001"]


def test_an_empty_file_is_damaged_and_not_late(tmp_path: Path) -> None:
    array_jobs = ArrayJobs(Layout(tmp_path, "s"), "0001")
    array_jobs.folder.parent.mkdir(parents=True)
    array_jobs.intend(0, 4)
    (array_jobs.folder / "0.job").touch()
    begin = time.monotonic()
    with pytest.raises(SlurmError, match=r"0.job is damaged .*: move it away"):
        array_jobs.read()
    assert time.monotonic() - begin < 30
