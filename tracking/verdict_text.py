"""The answer as plain text for a terminal: sentences, tables, caveats. Writes nothing."""

from tracking import tables, wording
from tracking.comparison import Comparison

_NAMED = 8  # incomplete blocks that a terminal lists before it counts


def verdict_text(comparison: Comparison) -> str:
    """Return the answers in words and as tables, ready to print; ends with a newline."""
    parts = _answers(comparison) if comparison.questions else _description(comparison)
    return "\n\n".join([*parts, *_notes(comparison)]) + "\n"


def _answers(comparison: Comparison) -> list[str]:
    parts = []
    for question in comparison.questions:
        sentences = [
            f"  {wording.sentence(one, comparison)}"
            for one in comparison.pooled
            if one.question == question
        ]
        parts.append("\n".join([f"{wording.title(question)}:", *sentences]))
    for question in comparison.questions:
        table = tables.answers(comparison, question)
        parts.append(tables.aligned(table, heading=table.caption))
    return [*parts, f"{wording.claim(comparison)}\n{wording.family(comparison)}"]


def _description(comparison: Comparison) -> list[str]:
    return [wording.no_question(comparison), tables.aligned(tables.summaries(comparison))]


def _notes(comparison: Comparison) -> list[str]:
    lines = wording.caveats(comparison)
    named = comparison.incomplete[:_NAMED]
    lines += [f"  {wording.incomplete(block)}" for block in named]
    if len(comparison.incomplete) > _NAMED:
        lines.append(f"  and {len(comparison.incomplete) - _NAMED} more, listed in the report")
    return ["\n".join(lines)] if lines else []
