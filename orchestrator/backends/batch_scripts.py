"""The batch scripts of a plan, word for word, and what there is to say of them. Sends nothing."""

from collections.abc import Sequence

from orchestrator.backends.base import SubmissionPlan
from orchestrator.backends.records import next_number
from orchestrator.study.study import Study
from slurm.request import Request
from slurm.sbatch import SubmitOptions, render
from slurm.submission import ALLOCATION, USUAL_CONCURRENT, array_throttle


def describe_throttle(study: Study, scripts: Sequence[str]) -> list[str]:
    """Say how many jobs of a large array run at a time if the sweep does not, and what to change.

    `scripts` are what sbatch would get.
    """
    by_itself = any(f"%{USUAL_CONCURRENT}\n" in script for script in scripts)
    if study.sweep.keys.limits.concurrent is not None or not by_itself:
        return []
    why = f"of an array {USUAL_CONCURRENT} jobs run at a time, to leave room for others"
    return [f"{why}: `limits: {{concurrent: N}}` in the sweep has N trials run at a time instead"]


def render_batch_scripts(study: Study, plans: Sequence[SubmissionPlan]) -> list[str]:
    """Return the exact text that sbatch would get; the folder of the submission is the next one.

    Array jobs that a limit on submitted jobs makes smaller differ in name and array alone, and so
    do the jobs of a site without arrays, of which the first one is returned. The
    job that an array waits for has no id yet: it stands there by its name.
    """
    scripts = []
    before: str | None = None
    for number, plan in enumerate(plans, start=next_number(study.layout)):
        folder = study.layout.submission(f"{number:04d}")
        request = plan.backend_request(folder)
        assert request is not None
        within = request.get("allocation")  # one job for all packs
        count = 1 if within else len(plan.packs)
        request = within or request
        most = request["concurrent"]
        throttle = array_throttle(count, most)
        name = f"{study.layout.study}-{folder.name}{ALLOCATION if within else ''}.0"
        after = None if before is None or most is None else f"afterany:<id of {before}>"
        if request.get("arrays", True):
            sending = SubmitOptions(name, f"0-{count - 1}{throttle}", after)
        else:  # the first one of as many jobs, which differ in their number alone
            sending = SubmitOptions(name, pack=0)
        before = name
        scripts.append(render(Request.from_json(request["job"]), sending, folder / "scripts"))
    return scripts
