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
from tracking.compare.analysis import Endpoint, Question
from tracking.compare.appendix import Appendix, compute_appendix
from tracking.compare.endpoints import curve_metric
from tracking.compare.result import AcrossDatasets, Comparison, Difference, Divergence
from tracking.compare.time_to_target import Arm, Speedup
from tracking.outcomes import Outcome
from tracking.report import (
    across_datasets,
    divergence,
    plots,
    preregistration,
    provenance,
    robustness,
    tables,
    time_to_target,
    tuning,
    wording,
)
from tracking.report import appendix as appendix_text
from tracking.report.appendix_plots import drawings
from tracking.report.curves import gate_curves, learning_curve
from tracking.report.forest import forest
from tracking.report.numbers import csv_text, numbers, write_parquet
from tracking.report.robustness import list_exclusions
from tracking.report.time_to_target import reach_curve

Finding = Difference | AcrossDatasets | Divergence | Speedup


def write_report(comparison: Comparison, outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write report.html, report.md and all numbers as JSON and CSV; return the path of the page.

    `outcomes` are those that `comparison` was made of; other phases are left out. Each file is
    replaced as a whole, so that a reader never meets half of one.
    """
    compared = [one for one in outcomes if one.trial.phase == "compare"]
    shown = comparison.select_outcomes(outcomes)
    extra = compute_appendix(comparison, shown)
    context = _context(comparison, shown) | {"appendix": appendix_text.sections(comparison, extra)}
    environment = _environment()
    (folder / "numbers").mkdir(parents=True, exist_ok=True)
    drawn = _figures(comparison, shown, extra)
    page = environment.get_template("report.html.jinja").render(context, figures=drawn)
    write_atomically(
        folder / "report.md", environment.get_template("report.md.jinja").render(context)
    )
    whole = comparison.to_json() | {"appendix": extra.to_json()}
    record = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "comparison.json", record + "\n")
    trials = provenance.data_rows(compared)
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
        "answers": [_answer(comparison, question) for question in comparison.questions],
        "claim": wording.claim(comparison),
        "scope": across_datasets.scope(comparison),
        "kind": wording.kind(comparison),
        "over_data_sets": robustness.over_data_sets(comparison),
        "failures": divergence.table(comparison),
        "arms": time_to_target.arms(comparison),
        "tuning": tuning.section(comparison),
        "family": wording.family(comparison),
        "ledger": preregistration.ledger(comparison),
        "looks": preregistration.looks_sentence(comparison),
        "saved": preregistration.saved_sentence(comparison),
        "registration": preregistration.registration(comparison),
        "registered": preregistration.registration_sentence(comparison),
        "deviations": preregistration.deviations(comparison),
        "aimed": preregistration.targets_sentence(comparison),
        "later": preregistration.table_with_additions(comparison),
        "any_own": comparison.any_of_user,
        "units": wording.units(comparison),
        "in_points": wording.all_in_points(comparison),
        "caveats": [*wording.caveats(comparison), *tuning.caveats(comparison.tuning)],
        "no_question": wording.no_question(comparison),
        "summaries": tables.summaries(comparison),
        "left_out": list_exclusions(comparison, outcomes),
        "states": provenance.states(outcomes),
        "provenance": [
            provenance.data(outcomes),
            provenance.candidates(outcomes),
            provenance.environments(outcomes),
        ],
    }


def _answer(comparison: Comparison, question: Question) -> dict[str, Any]:
    """Return all that is said of one question; findings are (badge, sentence)."""
    timed = time_to_target.pooled_speedup(comparison, question)
    said: list[tuple[Finding, str]] = [
        *((one, wording.sentence(one, comparison)) for one in comparison.pooled),
        *([(timed, time_to_target.sentence(timed))] if timed else []),
        *((one, divergence.sentence(one)) for one in divergence.with_divergence(comparison)),
    ]
    beyond = [
        (one, across_datasets.sentence(one)) for one in across_datasets.claimable(comparison)
    ]
    return {
        "title": wording.title(question),
        "findings": [(_badge(one), text) for one, text in said if one.question == question],
        "beyond": [(_badge(one), text) for one, text in beyond if one.question == question],
        "table": tables.answers(comparison, question),
        "effects": tables.effects(comparison, question),
        "sensitivity": robustness.sensitivity(comparison, question),
        "speed": time_to_target.answers(comparison, question),
    }


def _badge(one: Finding) -> str:
    return one.verdict if isinstance(one, Difference) else one.word


def _figures(
    comparison: Comparison, outcomes: Sequence[Outcome], extra: Appendix
) -> Mapping[str, Sequence[Markup]]:
    """Draw everything, by section. The drawings are ours and escaped: they go in as markup."""
    styles = plots.lines(comparison.candidates)
    by_workload = {
        workload.name: [one for one in outcomes if one.trial.workload.name == workload.name]
        for workload in comparison.workloads
    }
    timed: dict[str, list[Arm]] = {}
    for arm in comparison.time_to_target.arms:
        timed.setdefault(arm.workload, []).append(arm)
    measured = {name: trials for name, trials in by_workload.items() if _any_result(trials)}
    return {
        "tuning": [Markup(one) for one in tuning.drawings(comparison.tuning, styles)],
        "forest": [
            Markup(forest(rows, comparison, styles))
            for question in comparison.questions
            for endpoint in Endpoint
            for rows in _by_unit(comparison.rows(question, endpoint))
        ],
        "curves": [
            Markup(learning_curve(name, trials, curve_metric(trials[0].trial.workload), styles))
            for name, trials in measured.items()
        ],
        "reached": [
            Markup(reach_curve(arms, time_to_target.target(arms[0], comparison), styles))
            for arms in timed.values()
        ],
        "gates": [
            Markup(panel)
            for name, trials in by_workload.items()
            for panel in gate_curves(name, trials)
        ],
        "losses": [
            Markup(learning_curve(name, trials, "train_loss", styles))
            for name, trials in measured.items()
            if curve_metric(trials[0].trial.workload) != "train_loss"
            and any("train_loss" in point.metrics for one in trials for point in one.curve)
        ],
        **{
            key: [Markup(one) for one in of]
            for key, of in drawings(comparison, extra, styles).items()
        },
    }


def _by_unit(rows: Sequence[Difference]) -> list[tuple[Difference, ...]]:
    """Return what one plot can hold: everything, or the single workloads of one unit each."""
    if "mixed units" not in rows[0].flags:
        return [tuple(rows)]
    groups: dict[tuple[str, bool], list[Difference]] = {}
    for one in rows[1:]:
        groups.setdefault((one.unit, one.lower_is_better), []).append(one)
    return [tuple(group) for group in groups.values()]


def _any_result(trials: Sequence[Outcome]) -> bool:
    return any(one.has_result for one in trials)


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
    return environment


def _markdown(text: str) -> str:
    """Escape what Markdown would take for markup, in a table or elsewhere."""
    return re.sub(r"([\\`*<|&])", r"\\\1", text).replace("\n", " ")


def _unbroken(text: str) -> str:
    """Keep intervals on one line."""
    return re.sub(r"\[[^]]*\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
