"""The batch scripts that a plan would send, as text: one for every chunk that an array takes."""

from collections.abc import Sequence

from orchestrator.backends.base import Lot
from orchestrator.study import Study
from slurm.executor import Sending, render
from slurm.order import ALLOCATION
from slurm.resources import Request


def batch_scripts(study: Study, lots: Sequence[Lot]) -> list[str]:
    """Return the exact text that sbatch would get; the folder of the submission is the next one.

    Chunks that a limit on submitted jobs makes smaller differ in their name and array alone. The
    job that an array waits for has no id yet: it stands there by its name.
    """
    taken = [int(p.name) for p in study.layout.submissions.glob("*") if p.name.isdigit()]
    scripts = []
    before: str | None = None
    for number, lot in enumerate(lots, start=max(taken, default=0) + 1):
        folder = study.layout.submission(f"{number:04d}")
        request = lot.request(folder)
        assert request is not None
        within = request.get("allocation")  # one job for all packs
        count = 1 if within else len(lot.packs)
        request = within or request
        most = request["concurrent"]
        throttle = f"%{most}" if most is not None and most < count else ""
        name = f"{study.layout.study}-{folder.name}{ALLOCATION if within else ''}.0"
        after = None if before is None or most is None else f"afterany:<id of {before}>"
        sending, before = Sending(name, f"0-{count - 1}{throttle}", after), name
        scripts.append(render(Request.from_json(request["job"]), sending, folder / "scripts"))
    return scripts
