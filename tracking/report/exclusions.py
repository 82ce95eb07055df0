"""Lists what was left out, counted as chance or flagged: blocks and trials, each with the reason.

Reads a comparison and the outcomes it was made of; excludes nothing itself.
"""

from collections.abc import Mapping, Sequence

from tracking.compare.result import Comparison
from tracking.outcomes import Outcome
from tracking.report.tables import Table


def list_exclusions(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Table]:
    """Return a table for each kind of exclusion or flag that occurs in the comparison."""
    rows: Mapping[str, Sequence[Mapping[str, str]]] = {
        "Incomplete blocks: left out of every question that needs the missing trial": [
            {
                "workload": block.workload,
                "block": str(block.block),
                "missing": "; ".join(f"{name}: {why}" for name, why in block.reasons),
            }
            for block in comparison.incomplete
        ],
        "Diverged trials: counted as chance": [
            {
                "workload": one.trial.workload.name,
                "block": str(one.trial.block),
                "candidate": one.trial.candidate.name,
                "why": one.error or "no reason given",
                "trial": one.trial.id,
            }
            for one in outcomes
            if one.state == "diverged"
        ],
        "Without a time to target": [
            {"workload": workload, "block": str(block), "candidate": candidate, "why": why}
            for workload, candidate, block, why in comparison.time_to_target.problems
        ],
        "Flagged blocks: used all the same": [
            {
                "workload": flag.workload,
                "block": str(flag.block),
                "flag": flag.kind,
                "detail": flag.detail,
            }
            for flag in comparison.flags
        ],
    }
    return [Table.of(caption, listed) for caption, listed in rows.items() if listed]
