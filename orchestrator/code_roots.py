"""Which copy of the user's code a trial runs: the present one, or the one that it began with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from jobs.pack import Pack
from jobs.trial import Trial
from orchestrator.backends.records import read_pack
from orchestrator.status import Standing, Status
from orchestrator.study import Study
from orchestrator.user_code import names_user_code


def code_roots(
    study: Study,
    status: Status,
    trials: Iterable[Trial],
    present: Path,
    renew: bool = False,
    folder: Path | None = None,
) -> Mapping[str, Path | None]:
    """Return, by trial id, the folder of the user's code; None for trials that use none.

    `folder` has the code of now, `present` is where it will lie. A trial that goes on from a
    checkpoint keeps the code of its last attempt (which had that of the one before), unless
    `renew`; one that has failed takes the present code, which has been mended since.
    """
    packs: dict[tuple[str, int], Pack] = {}

    def root(trial: Trial) -> Path | None:
        if not names_user_code(trial, folder or Path.cwd()):
            return None
        standing = status.planned[trial.id]
        if renew or not goes_on(study, standing):
            return present
        job = standing.outcome.job
        key = (str(job["submission"]), int(job["pack"]))
        packs[key] = packs.get(key) or read_pack(study.layout, *key)
        begun_with = packs[key].code_root
        return begun_with if begun_with is not None and begun_with.is_dir() else present

    return {trial.id: root(trial) for trial in trials}


def goes_on(study: Study, standing: Standing) -> bool:
    """Whether a trial would be resumed: it was stopped half-way and has a checkpoint."""
    stopped = standing.outcome.state in ("interrupted", "running")
    return stopped and study.layout.checkpoint(standing.outcome.trial.id).exists()
