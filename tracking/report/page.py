"""The report of a study: one self-contained page, the same as Markdown, the numbers as files.

The same outcomes give the same bytes: no clock, no host of its own. What is claimed is decided in
`compare` and said in `wording`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.contract.atomic_write import write_atomically
from tracking.compare.appendix import Appendix, compute_appendix
from tracking.compare.result import Comparison
from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.report import (
    across_datasets,
    caveats,
    divergence,
    preregistration,
    provenance,
    sensitivity,
    tables,
    time_to_target,
    tuning,
    wording,
)
from tracking.report import appendix as appendix_section
from tracking.report.figures import curves, forest, plots
from tracking.report.numbers import csv_text, numbers, write_parquet
from tracking.report.verdict import (
    answered,
    banner,
    boxes,
    findings,
    findings_beyond,
    heading,
    not_in_yet,
    subject,
)

_QUOTED = re.compile("`([^`\n]+)`")


def write_report(
    comparison: Comparison,
    outcomes: Sequence[Outcome],
    folder: Path,
    hours: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Write report.html, report.md and all numbers as JSON and tables; return the page's path.

    `hours` are rows of what was spent: a label, hours of CPUs, hours of GPUs.
    `outcomes` are those that `comparison` was made of; other phases are left out. Each file is
    replaced as a whole, so that a reader never meets half of one.
    """
    compared = [one for one in outcomes if one.trial.phase == "compare"]
    shown = comparison.select_outcomes(outcomes)
    extra = compute_appendix(comparison, shown)
    context = _context(comparison, shown) | {
        "appendix": appendix_section.sections(comparison, extra),
        "hours": tables.Table("Hours", ("", "CPU", "GPU"), tuple(hours)),
    }
    environment = _environment()
    (folder / "numbers").mkdir(parents=True, exist_ok=True)
    drawn = _figures(comparison, shown, extra)
    page = environment.get_template("report.html.jinja").render(context, figures=drawn)
    write_atomically(
        folder / "report.md", environment.get_template("report.md.jinja").render(context)
    )
    content = comparison.to_json() | {"appendix": extra.to_json()}
    record = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "comparison.json", record + "\n")
    trials = provenance.data_rows(compared, comparison.endpoints)
    write_atomically(folder / "data.csv", csv_text(trials, list(trials[0]) if trials else ()))
    write_parquet(folder / "data.parquet", trials)
    for name, rows in numbers(comparison, extra).items():
        write_atomically(folder / "numbers" / f"{name}.csv", csv_text(rows))
        write_parquet(folder / "numbers" / f"{name}.parquet", rows)
    write_atomically(folder / "report.html", page)
    return folder / "report.html"


def _context(comparison: Comparison, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "comparison": comparison,
        "heading": heading(comparison),
        "banner": banner(comparison),
        "components": any(one.components for one in comparison.by_workload),
        "answers": [_answer(comparison, question) for question in answered(comparison)],
        "waiting": not_in_yet(comparison),
        "counts": [
            tables.counts(comparison, question)
            for question in comparison.questions
            if comparison.is_open(question)
        ],
        "claim": wording.claim(comparison),
        "confirmation": preregistration.confirmation_sentence(comparison),
        "scope": across_datasets.scope(comparison),
        "kind": wording.kind(comparison),
        "over_data_sets": across_datasets.table(comparison),
        "failures": divergence.table(comparison),
        "arms": time_to_target.arms(comparison),
        "times_are_secondary": time_to_target.is_secondary(comparison),
        "tuning": tuning.section(comparison),
        "family": wording.family(comparison),
        "ledger": preregistration.ledger(comparison),
        "looks": preregistration.looks_sentence(comparison),
        "saved": preregistration.saved_sentence(comparison),
        "registration": preregistration.registration(comparison),
        "registered": preregistration.registration_sentence(comparison),
        "deviations": preregistration.deviations(comparison),
        "targets": preregistration.targets_sentence(comparison),
        "later": preregistration.table_with_additions(comparison),
        "any_of_user": comparison.any_of_user,
        "units": wording.units(comparison),
        "confidence": wording.confidence(comparison),
        "in_points": wording.all_in_points(comparison),
        "caveats": [*caveats.caveats(comparison), *tuning.caveats(comparison.tuning)],
        "no_question": wording.no_question(comparison),
        "summaries": tables.summaries(comparison),
        "left_out": caveats.list_exclusions(comparison, outcomes),
        "states": provenance.states(outcomes),
        "provenance": [
            provenance.data(outcomes),
            provenance.candidates(outcomes),
            provenance.environments(outcomes),
        ],
    }


def _answer(comparison: Comparison, question: Question) -> dict[str, Any]:
    """Return what the report says of one question: findings, and its tables."""
    named, settings = subject(comparison, question)
    return {
        "title": named,
        "settings": settings,
        "boxes": boxes(comparison, question),
        "findings": findings(comparison, question),
        "beyond": findings_beyond(comparison, question),
        "table": tables.answers(comparison, question),
        "effects": tables.effects(comparison, question),
        "sensitivity": sensitivity.sensitivity(comparison, question),
        "speed": time_to_target.answers(comparison, question),
    }


def _figures(
    comparison: Comparison, outcomes: Sequence[Outcome], extra: Appendix
) -> Mapping[str, Sequence[Markup]]:
    """Draw the figures of every section, as markup: their text is escaped already."""
    styles = plots.lines(comparison.candidates)
    drawn: dict[str, list[str]] = {
        "tuning": tuning.draw(comparison.tuning, styles),
        "forest": forest.draw(comparison, styles),
        "reached": time_to_target.draw(comparison, styles),
        **curves.draw(comparison, outcomes, styles),
        **appendix_section.draw(comparison, extra, styles),
    }
    return {section: [Markup(one) for one in svgs] for section, svgs in drawn.items()}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tracking.report", "."),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = _markdown
    environment.filters["unbroken"] = _unbroken
    environment.filters["code"] = _code
    environment.filters["md_code"] = _markdown_code
    return environment


def _markdown(text: str) -> str:
    """Escape what Markdown would take for markup, in a table or elsewhere."""
    return re.sub(r"([\\`*<|&])", r"\\\1", text).replace("\n", " ")


def _code(text: str) -> Markup:
    """Escape for HTML, and set what stands between backticks as code."""
    plain = re.split(_QUOTED, text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(plain)
    )


def _markdown_code(text: str) -> str:
    """Escape for Markdown what does not stand between backticks."""
    return "".join(
        f"`{part}`" if place % 2 else _markdown(part)
        for place, part in enumerate(re.split(_QUOTED, text))
    )


def _unbroken(text: str) -> str:
    """Replace the spaces inside intervals and p-values, so that no line is broken there."""
    return re.sub(
        r"\[[^]]*\]|\bp [=<] \S", lambda match: match[0].replace(" ", "\N{NO-BREAK SPACE}"), text
    )
