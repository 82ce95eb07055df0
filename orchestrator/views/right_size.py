"""What a job was given and has used, and the lines to change, for people. Prints nothing."""

from orchestrator.progress.right_size import RightSize

_IN_ID = "cpus_per_task is in the id of a trial: change it for the next study"


def right_size_lines(size: RightSize) -> list[str]:
    """Return what jobs used beside what they were given; nothing if that fits."""
    return [*_resource_lines(size), *_gpu_lines(size)]


def _gpu_lines(size: RightSize) -> list[str]:
    if size.shared is None:
        return []
    used = f"a trial used {size.gpu_mb:.0f} of {size.given_gpu_mb:.0f} MB of its GPU"
    note = "each is slower beside others: not for a study that compares times"
    return [f"right size: {used}; would do: pack: {{trials_per_gpu: {size.shared}}} ({note})"]


def _resource_lines(size: RightSize) -> list[str]:
    better = size.lines
    if not better:
        return []
    used = []
    if size.given_min is not None:
        used.append(f"{size.time_min:.2g} of {size.given_min} min")
    if size.memory_mb is not None:
        given = "" if size.given_mb is None else f" of {size.given_mb:.0f}"
        used.append(f"{size.memory_mb:.0f}{given} MB")
    if size.busy is not None:
        used.append(f"{size.busy:.2g} of {size.cpus} CPUs busy")
    changed = ", ".join(f"{key}: {value}" for key, value in better.items())
    line = f"right size: the largest of {size.jobs} jobs used {'; '.join(used)}"
    note = f" ({_IN_ID})" if "cpus_per_task" in better else ""
    return [f"{line}; would do: resources: {{{changed}}}{note}"]
