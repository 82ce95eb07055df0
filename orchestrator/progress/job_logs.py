"""What the jobs of a study print: which files hold it, and following them as they grow."""

import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.progress.status import read_status
from orchestrator.study.study import Study

_LOOK_EVERY_S = 1.0
_SHARE_OF_A_CORE = 0.1  # what looking may cost a large study: the cores are for training


def find_outputs(study: Study, trial_id: str | None = None) -> list[Path]:
    """Return the files, of the whole study or of the last job that has begun a trial."""
    if trial_id is None:
        found = sorted(study.layout.submissions.glob("*/output/*.log"))
        return found + sorted(study.layout.submissions.glob("*/*.log"))
    job = read_status(study).planned[trial_id].outcome.job
    return [study.layout.job_output(job["submission"], job["pack"])] if job else []


def follow_outputs(study: Study, trial_id: str | None = None) -> Iterator[str]:
    """Yield what is printed, file by file, until no job of the study or of the trial lives."""
    read_to: dict[Path, int] = {}
    last = None
    while True:
        begin = time.process_time()  # waiting for a queue that is slow to answer costs no core
        lives = _lives(study, trial_id)
        for output in find_outputs(study, trial_id):
            text = _appended(output, read_to)
            if text:
                yield text if output == last else f"==> {output}\n{text}"
                last = output
        if not lives:
            return
        took = time.process_time() - begin
        time.sleep(max(_LOOK_EVERY_S, took / _SHARE_OF_A_CORE))


def _lives(study: Study, trial_id: str | None) -> bool:
    status = read_status(study)
    if trial_id is None:
        return status.jobs_alive > 0
    standing = status.planned[trial_id]
    return standing.in_flight and not standing.outcome.has_result


def _appended(output: Path, read_to: dict[Path, int]) -> str:
    """Return the whole lines that a file has gained since the last look."""
    try:
        with output.open("rb") as file:
            file.seek(read_to.get(output, 0))
            data = file.read()
    except FileNotFoundError:
        return ""
    whole = data[: data.rfind(b"\n") + 1]
    read_to[output] = read_to.get(output, 0) + len(whole)
    return whole.decode(errors="replace").rstrip("\n")
