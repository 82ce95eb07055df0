"""The answer as plain text for a terminal: sentences, caveats, tables. Writes nothing."""

import textwrap
from collections.abc import Iterator

from tracking.compare.result import Comparison
from tracking.report import across_datasets, caveats, preregistration, tables, tuning, wording
from tracking.report.verdict import (
    Box,
    answered,
    banner,
    boxes,
    findings,
    findings_beyond,
    not_in_yet,
    subject,
)

_NAMED = 8  # causes of incomplete blocks that a terminal lists before it counts
_ROWS = 30  # of a table
_WIDTH = 96  # of a box


def verdict_text(comparison: Comparison) -> str:
    """Return the answers in words and as tables, ready to print; ends with a newline."""
    parts = [*_answers(comparison), *_notes(comparison)]
    parts += [_align(table) for table in _tables(comparison)]
    return "\n\n".join(parts) + "\n"


def _answers(comparison: Comparison) -> list[str]:
    if not comparison.questions:
        return [wording.no_question(comparison)]
    parts = [said] if (said := banner(comparison)) else []
    for question in answered(comparison):
        named, settings = subject(comparison, question)
        lines = [f"{named}:", *([f"  {settings}"] if settings else [])]
        lines += [f"  {word} {text}" for word, text in findings(comparison, question)]
        like_these = f"  on {wording.kind(comparison)} like these:"
        beyond = findings_beyond(comparison, question)
        lines += [f"{like_these} {word} {text}" for word, text in beyond]
        lines += [line for box in boxes(comparison, question) for line in _frame(box)]
        parts.append("\n".join(lines))
    if waiting := not_in_yet(comparison):
        parts.append("\n".join(["Not in yet:", *(f"  {line}" for line in waiting)]))
    return parts


def _frame(box: Box) -> Iterator[str]:
    """Yield the lines of a box, in letters that every terminal has."""
    yield f"  +-- {box.heading} ".ljust(_WIDTH, "-")
    yield from (f"  | {line}" for line in textwrap.wrap(box.text, _WIDTH - 4))
    if box.command:
        yield f"  |   {box.command}"
    yield "  +".ljust(_WIDTH, "-")


def _tables(comparison: Comparison) -> Iterator[tables.Table]:
    for question in comparison.questions:
        kind = tables.counts if comparison.is_open(question) else tables.answers
        yield tables.named(kind(comparison, question))
    looks = preregistration.ledger(comparison)
    if looks.rows:
        yield looks
    tuned = tuning.section(comparison)
    if tuned is not None:
        yield from tuned.tables[:1]
    yield tables.summaries(comparison)


def _align(table: tables.Table) -> str:
    """Lay a table out, the first rows of it if there are many."""
    more = len(table.rows) - _ROWS
    if more <= 1:
        return tables.align(table)
    short = tables.Table(table.caption, table.header, table.rows[:_ROWS])
    return f"{tables.align(short)}\nand {more} more rows, listed in the report"


def _notes(comparison: Comparison) -> list[str]:
    lines = caveats.caveats(comparison)
    if answered(comparison):
        claims = [wording.claim(comparison), across_datasets.scope(comparison)]
        lines = [" ".join(claims), wording.family(comparison), *lines]
    lines += [*tuning.caveats(comparison.tuning), *preregistration.lines(comparison)]
    causes = wording.list_incomplete(comparison.incomplete)
    for workload, blocks, missing in causes[:_NAMED]:
        several = "s" * (not blocks.isdecimal())
        lines.append(f"  {workload}, block{several} {blocks}: {missing}")
    if len(causes) > _NAMED:
        lines.append(f"  and {len(causes) - _NAMED} more causes, listed in the report")
    return ["\n".join(lines)] if lines else []
