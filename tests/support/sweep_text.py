"""The text of a small sweep of digits, with parts of it replaced by a test's own."""


def sweep_text(candidates: str = "candidates: {adamw: {}}", **rest: str) -> str:
    """Return a sweep of one workload and two seeds; `rest` has whole lines by their key."""
    workload = "workloads: [{dataset: digits, model: mlp, epochs: 1}]"
    parts = {"study": "study: s", "workloads": workload, "c": candidates, "seeds": "seeds: 2"}
    return "\n".join((parts | rest).values()) + "\n"
