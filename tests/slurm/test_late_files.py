"""What the sender has written is seen seconds later on the nodes: their jobs wait for it."""

from pathlib import Path

import pytest
from file_faults import can_mark
from slurm_lab import Lab

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
