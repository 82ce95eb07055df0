"""The batch scripts that a plan would send, as text: one for every chunk that an array takes."""

from collections.abc import Sequence

from orchestrator.backends.base import Lot
from orchestrator.study import Study


def batch_scripts(study: Study, lots: Sequence[Lot]) -> list[str]:
    """Return the exact text that sbatch would get; the folder of the submission is the next one.

    Chunks that a limit on submitted jobs makes smaller differ in their name and array alone.
    """
    from slurm.executor import Sending, render  # loads submitit, which other plans do not need
    from slurm.resources import Request

    taken = [int(p.name) for p in study.layout.submissions.glob("*") if p.name.isdigit()]
    scripts = []
    for number, lot in enumerate(lots, start=max(taken, default=0) + 1):
        folder = study.layout.submission(f"{number:04d}")
        request = lot.request(folder)
        assert request is not None
        count, most = len(lot.packs), request["concurrent"]
        throttle = f"%{most}" if most is not None and most < count else ""
        sending = Sending(f"{study.layout.study}-{folder.name}.0", f"0-{count - 1}{throttle}")
        scripts.append(render(Request.from_json(request["job"]), sending, folder / "scripts"))
    return scripts
