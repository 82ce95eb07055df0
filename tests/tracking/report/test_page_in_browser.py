"""The report in a real browser: nothing sticks out, at the width of a phone and of a desk."""

import re
from dataclasses import replace

import pytest

from tracking.compare.compare import compare
from tracking.questions.analysis import Analysis, Question, Registration
from tracking.questions.interim import Looks, Savings
from tracking.report.page import write_report

LONG = "adamw[lr=0.0003,weight_decay=0.01]"

_MEASURE = """<!DOCTYPE html><html><body>
<iframe id="page" src="report.html" style="width:{width}px;height:800px;border:0"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.getElementById("page").contentDocument.documentElement;
  page.querySelectorAll("details").forEach(each => {{ each.open = true; }});
  document.body.dataset.measured = page.scrollWidth + " of " + page.clientWidth;
}});
</script></body></html>"""


def aiming_at(trial, target):
    reading = replace(trial.workload.metric_spec, target=target)
    return replace(trial, workload=replace(trial.workload, declared_metric=reading))


@pytest.mark.parametrize("width", [420, 760, 980, 1280])
def test_nothing_sticks_out_of_the_page(chromium, study, outcome, tmp_path, width):
    outcomes = study()
    outcomes[0] = outcome(
        "thermolion", "digits", 0, state="failed", error="RuntimeError: " + "x" * 200
    )
    outcomes[5] = outcome("lion", "digits", 1, curve=[(0, 0.1)], state="diverged")
    outcomes += [outcome(LONG, "digits", block, 0.96 + 0.001 * block) for block in range(3)]
    questions = [
        Question("thermolion", "adamw"),
        Question("lion", LONG),
    ]
    aimed = [replace(one, trial=aiming_at(one.trial, 0.7)) for one in outcomes]
    agreed = Analysis(
        tuple(questions), {"digits": "0" * 16}, {LONG: "1" * 16}, tuple(range(5)), looks=(3, 5)
    )
    found = compare(
        "a-study-" * 12, aimed, questions, analysis=agreed, looks=Looks((3, 5), complete=2)
    )
    registered = Registration(agreed, agreed.hash, 0, 3, ("seeds 3, 4 were added " + "x" * 90,))
    saved = Savings(6, 40, 12.5, 30.0, "GPU hours")
    found = replace(found, registration=registered, saved=saved, later=found.pooled)
    write_report(found, aimed, tmp_path)
    (tmp_path / "measure.html").write_text(_MEASURE.format(width=width))
    dumped = chromium(
        f"--window-size={width + 100},1000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        (tmp_path / "measure.html").as_uri(),
    )
    measured = re.search(r'data-measured="(\d+) of (\d+)"', dumped)
    assert measured, dumped[-2000:]
    needed, there = map(int, measured.groups())
    assert needed <= there <= width


def test_the_appendix_is_collapsed_on_screen_and_printed_whole(chromium, study, tmp_path):
    outcomes = study(2)
    page = write_report(
        compare("s", outcomes, [Question("thermolion", "adamw")]), outcomes, tmp_path
    )
    whole = page.read_text()
    assert "<details>" in whole
    (tmp_path / "without.html").write_text(re.sub(r"(?s)<details>.*</details>", "", whole))
    pages = []
    for name in ("report", "without"):
        pdf = tmp_path / f"{name}.pdf"
        chromium(f"--print-to-pdf={pdf}", (tmp_path / f"{name}.html").as_uri())
        pages.append(len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())))
    assert pages[0] > pages[1] > 0
