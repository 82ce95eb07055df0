"""The report as files: self-contained, reproducible, escaped, complete."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from pyarrow import parquet

from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from tracking.compare.compare import compare
from tracking.questions.analysis import Question
from tracking.report.figures.curves import gate_curves, mean_gates
from tracking.report.page import write_report

QUESTIONS = [Question("thermolion", "adamw"), Question("lion", "adamw")]
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting and collects what a page holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(study, tmp_path):
    path = write_report(compare("quickstart", study(), QUESTIONS), study(), tmp_path)
    return Page(path.read_text())


def test_no_two_elements_of_the_page_have_one_id(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) > 100
    assert len(set(ids)) == len(ids)


def test_the_page_is_well_formed_and_accessible(page):
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert "title" in tags
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 4 + 3 + 3 + 2
    assert all(each["role"] == "img" and each["aria-label"] for each in drawings)
    assert all(each.get("scope") for tag, each in page.tags if tag == "th")
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(ids) == len(set(ids))
    labels = {each["aria-labelledby"] for _, each in page.tags if "aria-labelledby" in each}
    assert labels <= set(ids)


def test_the_page_asks_nothing_of_the_network(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith("#")
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)


def test_the_page_holds_the_known_figures_in_order(page):
    assert "+0.37 [+0.14, +0.59]" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    headings = [
        "Exploratory",
        "Differences",
        "Forest plots",
        "Learning curves",
        "Candidates",
        "Incomplete, diverged, flagged",
        "Provenance",
        "Appendix",
    ]
    positions = [page.text.index(f"\n{heading}\n") for heading in headings]
    assert positions == sorted(positions)


def _with_gates(one, layers=("conv1.weight", "fc.bias")):
    """Return an outcome whose optimizer logged its gates at three steps."""
    told = {
        step: {name: {"gate": (0.5 + one.trial.block / 10) / step} for name in layers}
        for step in (1, 2, 4)
    }
    return replace(one, layers=told)


def test_gates_are_drawn_for_each_workload_and_candidate_that_logged_them(study, tmp_path):
    plain = study(2)
    outcomes = [
        _with_gates(one) if one.trial.candidate.name == "thermolion" else one for one in plain
    ]
    page = Page(write_report(compare("s", outcomes, []), outcomes, tmp_path).read_text())
    labels = [each["aria-label"] or "" for tag, each in page.tags if tag == "svg"]
    gates = [label for label in labels if label.startswith("mean gate")]
    assert gates == [
        f"mean gate of 2 layers against steps: thermolion on {name}, n = 2"
        for name in ("digits", "fashion_mnist", "cifar10")
    ]
    assert "Gates of ThermoLion" in page.text
    assert "conv1.weight" in page.text
    path = write_report(compare("s", plain, []), plain, tmp_path)
    assert "Gates of ThermoLion" not in path.read_text()


def test_of_many_layers_the_legend_names_three(outcome):
    names = [f"layer{number}.weight" for number in range(20)]
    (drawn,) = gate_curves("digits", [_with_gates(outcome(), names)])
    named = re.findall(r">(layer\d+\.weight)<", drawn)
    assert named == [names[0], names[10], names[19]]


def test_a_gate_is_the_mean_over_seeds_at_the_steps_that_all_of_them_have(outcome):
    whole, short = _with_gates(outcome()), _with_gates(outcome(block=1))
    del short.layers[4]
    steps, gates = mean_gates([whole, short])["fc.bias"]
    assert list(steps) == [1, 2]
    assert gates == pytest.approx([0.55, 0.275])


def test_a_report_written_twice_has_the_same_bytes(study, tmp_path):
    for name in ("one", "two"):
        write_report(compare("s", study(), QUESTIONS), study(), tmp_path / name)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in files)
    kinds = ("answers", "candidates", "failures", "level_b", "pairs", "ahead", "rankings")
    kinds += ("improvement", "interquartile_means")
    empty = ("answers_with_additions", "looks", "saved", "speedups", "steps_to_target")
    empty += ("expected_best", "limits", "profile", "tuning")
    numbers = [f"numbers/{kind}.csv" for kind in (*kinds, *empty)]
    numbers += [f"numbers/{kind}.parquet" for kind in kinds]
    numbers += ["comparison.json", "data.csv", "data.parquet", "report.html", "report.md"]
    assert names == sorted(numbers)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_older_report_is_replaced(study, tmp_path):
    (tmp_path / "report.html").write_text("old")
    write_report(compare("s", study(2), []), study(2), tmp_path)
    assert "old" not in (tmp_path / "report.html").read_text()[:10]
    assert "declares no question" in (tmp_path / "report.html").read_text()


def test_names_are_escaped_everywhere(outcome, tmp_path):
    names = ["<b>&bold", "a|b*c`d`"]
    outcomes = [
        outcome(name, "<script>alert(1)</script>", block, 0.9 + 0.01 * block * number)
        for number, name in enumerate(names)
        for block in range(3)
    ]
    outcomes[0] = replace(outcomes[0], state="diverged", error="<i>boom</i>")
    found = compare("<u>study</u>", outcomes, [Question(*names)])
    page = Page(write_report(found, outcomes, tmp_path).read_text())
    assert not {"script", "b", "i", "u"} & {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text
    markdown = (tmp_path / "report.md").read_text()
    assert "<script>" not in markdown.replace(r"\<script>", "")
    assert r"a\|b\*c\`d\`" in markdown


def test_every_table_row_of_the_markdown_has_the_columns_of_its_header(study, tmp_path):
    write_report(compare("s", study(), QUESTIONS), study(), tmp_path)
    width = None
    for line in (tmp_path / "report.md").read_text().splitlines():
        if not line.startswith("|"):
            width = None
            continue
        width = width or line.count("|")
        assert line.count("|") == width


def test_the_data_has_one_row_a_trial(study, outcome, tmp_path):
    outcomes = [*study(2), outcome("thermolion", "digits", 7, state="waiting")]
    write_report(compare("s", outcomes, []), outcomes, tmp_path)
    with (tmp_path / "data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [one.trial.id for one in outcomes]
    assert float(rows[0]["final_test_accuracy_pct"]) == 100 * outcomes[0].metrics["test_accuracy"]
    assert rows[0]["seed_init"] == str(outcomes[0].trial.seeds["init"])
    assert (rows[-1]["state"], rows[-1]["auc_pct"]) == ("waiting", "")


def test_the_numbers_are_there_in_full_precision(study, tmp_path):
    found = compare("s", study(), QUESTIONS)
    write_report(found, study(), tmp_path)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["pooled"][0]["estimate"]["mean"] == found.pooled[0].estimate.mean
    assert record["appendix"]["ahead"][0]["share"]["n"] == found.pooled[0].estimate.n


def test_every_number_is_a_cell_of_a_csv_file(study, tmp_path):
    found = compare("s", study(), QUESTIONS)
    write_report(found, study(), tmp_path)
    tables = {}
    for path in (tmp_path / "numbers").glob("*.csv"):
        with path.open(newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    answer = tables["answers"][0]
    assert (answer["candidate"], answer["baseline"]) == ("thermolion", "adamw")
    assert float(answer["estimate_p"]) == found.pooled[0].estimate.p
    assert float(answer["sensitivity_sign_flip_p"]) == found.pooled[0].sensitivity.sign_flip_p
    assert len(tables["answers"]) == len(found.pooled) + len(found.by_workload)
    one = found.by_workload[0]
    pairs = [float(row["difference"]) for row in tables["pairs"][: one.estimate.n]]
    assert pairs == [difference for _, difference in one.paired]
    assert sum(pairs) / len(pairs) == pytest.approx(one.estimate.mean)
    assert tables["level_b"][0]["word"] == "not claimable"
    assert len(tables["candidates"]) == 9


def test_every_number_is_in_a_parquet_file_with_its_type(study, tmp_path):
    found = compare("s", study(), QUESTIONS)
    write_report(found, study(), tmp_path)
    for path in (tmp_path / "numbers").glob("*.parquet"):
        with path.with_suffix(".csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        table = parquet.read_table(path)
        assert table.column_names == list(rows[0])
        assert table.num_rows == len(rows)
    answers = parquet.read_table(tmp_path / "numbers" / "answers.parquet")
    assert answers.column("estimate_p").to_pylist()[0] == found.pooled[0].estimate.p
    seeds = parquet.read_table(tmp_path / "data.parquet").column("seed_init").to_pylist()
    assert seeds == [one.trial.seeds["init"] for one in study()]


def test_what_went_wrong_is_listed(study, outcome, tmp_path):
    outcomes = study()
    outcomes[0] = outcome("thermolion", "digits", 0, state="failed", error="OSError: no data")
    outcomes[4] = outcome("adamw", "digits", 1, curve=[(0, 0.1)], state="diverged")
    outcomes[8] = replace(outcomes[8], nondeterministic=True)
    found = compare("s", outcomes, QUESTIONS)
    page = Page(write_report(found, outcomes, tmp_path).read_text())
    for text in ("thermolion failed (OSError: no data)", "a loss of nan", "nondeterministic"):
        assert text in page.text


def test_a_study_without_any_result_still_has_a_report(outcome, tmp_path):
    waiting = [
        outcome(name, block=block, state="waiting")
        for name in ("thermolion", "adamw")
        for block in range(2)
    ]
    found = compare("s", waiting, QUESTIONS[:1])
    page = Page(write_report(found, waiting, tmp_path).read_text())
    assert "No trial has a result yet." in page.text
    assert "not estimable" in page.text


def test_the_page_says_how_a_curve_was_measured_if_not_as_usual(page, study, tmp_path):
    assert "evaluated every" not in page.text
    plan = EvaluationPlan("1ep", samples=2000)
    thinned = [
        replace(one, trial=replace(one.trial, workload=replace(one.trial.images, evaluate=plan)))
        for one in study()
    ]
    path = write_report(compare("thinned", thinned, QUESTIONS), thinned, tmp_path / "thinned")
    assert "evaluated every 1ep, curve on 2,000 images" in Page(path.read_text()).text
