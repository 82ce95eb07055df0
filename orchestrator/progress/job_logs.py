"""The output of the jobs of a study: find its files, follow them as they grow."""

import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.progress.status import read_status
from orchestrator.study.study import Study

_POLL_EVERY_S = 1.0
_SHARE_OF_A_CORE = 0.1  # what reading may cost a large study: the cores are for training


def find_outputs(study: Study, trial_id: str | None = None) -> list[Path]:
    """Return the output files of the whole study, or of the last job that has begun a trial."""
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
        is_alive = _is_alive(study, trial_id)
        for output in find_outputs(study, trial_id):
            text = _read_appended(output, read_to)
            if text:
                yield text if output == last else f"==> {output}\n{text}"
                last = output
        if not is_alive:
            return
        took = time.process_time() - begin
        time.sleep(max(_POLL_EVERY_S, took / _SHARE_OF_A_CORE))


def _is_alive(study: Study, trial_id: str | None) -> bool:
    status = read_status(study)
    if trial_id is None:
        return status.jobs_alive > 0
    trial_status = status.planned[trial_id]
    return trial_status.in_flight and not trial_status.outcome.has_result


def _read_appended(output: Path, read_to: dict[Path, int]) -> str:
    """Return the whole lines that a file has gained since `read_to`, and move that on."""
    try:
        with output.open("rb") as file:
            file.seek(read_to.get(output, 0))
            data = file.read()
    except FileNotFoundError:
        return ""
    whole = data[: data.rfind(b"\n") + 1]
    read_to[output] = read_to.get(output, 0) + len(whole)
    return whole.decode(errors="replace").rstrip("\n")
