"""What a reader must be able to look up: incomplete blocks, diverged trials, flagged blocks.

Lists what `blocks` found; decides nothing.
"""

from collections.abc import Sequence

from tracking.comparison import Comparison
from tracking.outcomes import Outcome
from tracking.reach_text import problems
from tracking.tables import Table


def left_out(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Table]:
    """List the incomplete blocks, the trials that diverged and the blocks with a flag."""
    incomplete = [
        (
            block.workload,
            str(block.block),
            "; ".join(f"{name}: {why}" for name, why in block.reasons),
        )
        for block in comparison.incomplete
    ]
    diverged = [
        (
            one.trial.workload.name,
            str(one.trial.block),
            one.trial.candidate.name,
            one.error or "no reason given",
            one.trial.id,
        )
        for one in outcomes
        if one.state == "diverged"
    ]
    flagged = [(one.workload, str(one.block), one.kind, one.detail) for one in comparison.flags]
    found = [
        Table(
            "Incomplete blocks: left out of every question that needs the missing trial",
            ("workload", "block", "missing"),
            tuple(incomplete),
        ),
        Table(
            "Diverged trials: counted as chance",
            ("workload", "block", "candidate", "why", "trial"),
            tuple(diverged),
        ),
        problems(comparison),
        Table(
            "Flagged blocks: used all the same",
            ("workload", "block", "flag", "detail"),
            tuple(flagged),
        ),
    ]
    return [table for table in found if table.rows]
