"""The answer as plain text for a terminal: sentences, tables, caveats. Writes nothing."""

from tracking.compare.result import Comparison
from tracking.report import (
    across_datasets,
    divergence,
    preregistration,
    tables,
    time_to_target,
    wording,
)
from tracking.report import tuning as tuning_text

_NAMED = 8  # incomplete blocks that a terminal lists before it counts


def verdict_text(comparison: Comparison) -> str:
    """Return the answers in words and as tables, ready to print; ends with a newline."""
    candidates = tables.summaries(comparison)
    looks = preregistration.ledger(comparison)
    by_look = [tables.align(looks)] if looks.rows else []
    tuning = tuning_text.section(comparison)
    tuned = [] if tuning is None else [tables.align(tuning.tables[0])]
    parts = [
        *_answers(comparison),
        *by_look,
        *tuned,
        tables.align(candidates),
        *_notes(comparison),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(comparison: Comparison) -> list[str]:
    if not comparison.questions:
        return [wording.no_question(comparison)]
    parts = []
    for question in comparison.questions:
        sentences = [
            f"  {wording.sentence(one, comparison)}"
            for one in comparison.pooled
            if one.question == question
        ]
        timed = time_to_target.pooled_speedup(comparison, question)
        sentences += [f"  {time_to_target.sentence(timed)}"] if timed else []
        sentences += [
            f"  {divergence.sentence(one)}"
            for one in divergence.with_divergence(comparison)
            if one.question == question
        ]
        sentences += [
            f"  on {wording.kind(comparison)} like these: {across_datasets.sentence(one)}"
            for one in across_datasets.claimable(comparison)
            if one.question == question
        ]
        parts.append("\n".join([f"{wording.title(question)}:", *sentences]))
    for question in comparison.questions:
        table = tables.answers(comparison, question)
        parts.append(tables.align(table, heading=table.caption))
    return parts


def _notes(comparison: Comparison) -> list[str]:
    lines = wording.caveats(comparison)
    if comparison.questions:
        claims = [wording.claim(comparison), across_datasets.scope(comparison)]
        lines = [" ".join(claims), wording.family(comparison), *lines]
    lines += [*tuning_text.caveats(comparison.tuning), *preregistration.lines(comparison)]
    named = comparison.incomplete[:_NAMED]
    lines += [f"  {wording.incomplete(block)}" for block in named]
    if len(comparison.incomplete) > _NAMED:
        lines.append(f"  and {len(comparison.incomplete) - _NAMED} more, listed in the report")
    return ["\n".join(lines)] if lines else []
