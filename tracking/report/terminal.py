"""The answer as plain text for a terminal: sentences, tables, caveats. Writes nothing."""

from tracking.compare.result import Comparison
from tracking.report import across_datasets, preregistration, tables, tuning, wording
from tracking.report.verdict import findings, findings_beyond

_NAMED = 8  # incomplete blocks that a terminal lists before it counts


def verdict_text(comparison: Comparison) -> str:
    """Return the answers in words and as tables, ready to print; ends with a newline."""
    parts = _answers(comparison)
    looks = preregistration.ledger(comparison)
    if looks.rows:
        parts.append(tables.align(looks))
    tuned = tuning.section(comparison)
    if tuned is not None:
        parts.append(tables.align(tuned.tables[0]))
    parts += [tables.align(tables.summaries(comparison)), *_notes(comparison)]
    return "\n\n".join(parts) + "\n"


def _answers(comparison: Comparison) -> list[str]:
    if not comparison.questions:
        return [wording.no_question(comparison)]
    parts = []
    for question in comparison.questions:
        lines = [f"{wording.title(question)}:"]
        lines += [f"  {word} {text}" for word, text in findings(comparison, question)]
        like_these = f"  on {wording.kind(comparison)} like these:"
        beyond = findings_beyond(comparison, question)
        lines += [f"{like_these} {word} {text}" for word, text in beyond]
        parts.append("\n".join(lines))
    for question in comparison.questions:
        table = tables.answers(comparison, question)
        parts.append(tables.align(table, heading=table.caption))
    return parts


def _notes(comparison: Comparison) -> list[str]:
    lines = wording.caveats(comparison)
    if comparison.questions:
        claims = [wording.claim(comparison), across_datasets.scope(comparison)]
        lines = [" ".join(claims), wording.family(comparison), *lines]
    lines += [*tuning.caveats(comparison.tuning), *preregistration.lines(comparison)]
    named = comparison.incomplete[:_NAMED]
    lines += [f"  {wording.incomplete(block)}" for block in named]
    if len(comparison.incomplete) > _NAMED:
        lines.append(f"  and {len(comparison.incomplete) - _NAMED} more, listed in the report")
    return ["\n".join(lines)] if lines else []
