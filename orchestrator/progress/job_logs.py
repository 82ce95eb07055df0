"""The output of the jobs of a study: find its files, follow them as they grow."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.progress.status import poll_status, read_status
from orchestrator.study.study import Study


def find_outputs(study: Study, trial_id: str | None = None) -> list[Path]:
    """Return the output files of the whole study, or of the last job that has begun a trial."""
    if trial_id is None:
        folder = study.layout.submissions
        return [*sorted(folder.glob("*/output/*.log")), *sorted(folder.glob("*/*.log"))]
    job = read_status(study).planned[trial_id].outcome.job
    return [study.layout.job_output(job["submission"], job["pack"])] if job else []


def follow_outputs(study: Study, trial_id: str | None = None) -> Iterator[str]:
    """Yield what is printed, file by file, until no job of the study or of the trial lives."""
    read_to: dict[Path, int] = {}
    last = None
    for status in poll_status(study):
        for output in find_outputs(study, trial_id):
            text = _read_appended(output, read_to)
            if text:
                yield text if output == last else f"==> {output}\n{text}"
                last = output
        trial_status = None if trial_id is None else status.planned[trial_id]
        if trial_status and (trial_status.outcome.has_result or not trial_status.in_flight):
            return


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
