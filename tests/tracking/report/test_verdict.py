"""What the report and the terminal say of a question, and what they do not say before its time."""

import csv
import json
import re
from dataclasses import replace

import pytest

from tracking.compare.compare import compare
from tracking.compare.tuning import Untuned
from tracking.mlflow_store.parents import study_record
from tracking.questions.analysis import Analysis, Question, Registration
from tracking.questions.interim import Looks
from tracking.questions.units import Units
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTIONS = [Question("thermolion", "adamw"), Question("lion", "adamw")]
WORDS = ("better", "worse", "equivalent", "undecided", "faster", "slower", "not estimable")
# Fields of records that say how sure something is, and are no settings of the analysis.
SURE = re.compile(
    r"(^|[._])(p|p_\w+|\w+_p|low|high|se|t|df|verdict|word|g_z|superiority|sensitivity|cliques)$"
)


def declare(outcomes, looks=()):
    """Return the analysis that was frozen before these trials, and the record of it."""
    content = {
        kind: {one.name: one.key for one in (getattr(o.trial, kind) for o in outcomes)}
        for kind in ("workload", "candidate")
    }
    blocks = tuple(sorted({one.trial.block for one in outcomes}))
    analysis = Analysis(
        tuple(QUESTIONS), content["workload"], content["candidate"], blocks, looks=looks
    )
    return analysis, Registration(analysis, analysis.hash, 0, 0)


def aimed(one):
    spec = replace(one.trial.workload.metric_spec, target=0.7)
    workload = replace(one.trial.workload, declared_metric=spec)
    return replace(one, trial=replace(one.trial, workload=workload), started_ms=1, ended_ms=9)


@pytest.fixture
def begun(study):
    """Return a study with targets, 24 of 30 trials of each question in, one of them diverged."""
    outcomes = [aimed(one) for one in study()]
    for place, one in enumerate(outcomes):
        if one.trial.candidate.name != "adamw" and one.trial.block > 2:
            outcomes[place] = replace(one, state="waiting", metrics={}, curve=(), ended_ms=None)
        elif one.trial.candidate.name == "lion" and one.trial.block == 1:
            outcomes[place] = replace(one, state="diverged", metrics={})
    return outcomes


@pytest.fixture
def interim(begun):
    analysis, registered = declare(begun)
    found = compare("s", begun, QUESTIONS, analysis=analysis)
    return replace(found, registration=registered)


def fields(value, path=""):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from fields(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from fields(item, path)
    elif value is not None:
        yield path, value


def said_words(text):
    return [word for word in WORDS if re.search(rf"\b{word}\b", text)]


def test_before_its_trials_are_in_a_question_has_counts_and_means_on_the_terminal(interim):
    text = verdict_text(interim)
    assert text.startswith(
        "Not in yet:\n  thermolion vs adamw: 24 of 30 trials are in; no verdict"
    )
    assert "before the look at 5 seeds is complete, or `thermolion compare s --close-look`" in text
    assert re.search(r"digits +3 +\+0\.48 +3 +\+3\.84", text)
    assert said_words(text.replace("no verdict", "")) == []
    assert "CI" not in text
    assert not re.search(r"\bp [=<]|p adj", text)


def test_before_its_trials_are_in_the_page_and_its_markdown_draw_and_print_no_certainty(
    interim, begun, tmp_path
):
    page = write_report(interim, begun, tmp_path).read_text()
    # After that come the rules that were agreed on, which name the words.
    body = page.partition("<main>")[2].partition('<h2 id="registration">')[0]
    markdown = (tmp_path / "report.md").read_text().partition("## Pre-registration")[0]
    for text in (body, markdown):
        assert text.count("Not in yet") == 1
        assert "24 of 30 trials are in" in text
        assert "+0.48" in text
        assert said_words(re.sub(r"<[^>]*>", " ", text)) == []
        assert "p adj." not in text
        assert "95%" not in text
    assert "Forest plot" not in page
    assert "McNemar" not in body
    # A band is what matplotlib fills between two lines.
    assert 'id="FillBetweenPolyCollection' not in page
    assert "s.e." not in body


def test_before_its_trials_are_in_no_file_of_numbers_says_how_sure_anything_is(
    interim, begun, tmp_path
):
    write_report(interim, begun, tmp_path)
    record = json.loads((tmp_path / "comparison.json").read_text())
    del record["registration"], record["readiness"]
    assert [(path, v) for path, v in fields(record) if SURE.search(path)] == []
    assert {path for path, _ in fields(record)} >= {".pooled.estimate.mean", ".pooled.estimate.n"}
    for path in (tmp_path / "numbers").glob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                sure = {name: cell for name, cell in row.items() if SURE.search(name) and cell}
                assert sure == {}, path


def test_before_its_trials_are_in_mlflow_has_a_count_and_no_word_or_number(interim, begun):
    record = study_record(begun, "s", None, interim)
    tags = {key: v for key, v in record.tags.items() if key.startswith("thermolion.verdict")}
    assert len(tags) == 4
    assert set(tags.values()) == {"no verdict yet: 24 of 30 trials are in"}
    assert not [one for one in record.metrics if one.key.startswith(("difference", "p_adjusted"))]


def test_a_question_whose_own_trials_are_in_has_its_word_while_another_waits(begun, tmp_path):
    done = [
        replace(one, state="completed", metrics={"test_accuracy": 0.99}, curve=other.curve)
        if one.trial.candidate.name == "thermolion" and not one.has_result
        else one
        for one, other in zip(begun, [*begun[1:], begun[0]], strict=True)
    ]
    analysis, registered = declare(begun)
    found = replace(compare("s", done, QUESTIONS, analysis=analysis), registration=registered)
    text = verdict_text(found)
    first, second = text.index("thermolion vs adamw:\n  "), text.index("Not in yet:\n  lion vs")
    assert "in speed (AUC of validation accuracy): +" in text[first:second]
    page = write_report(found, done, tmp_path).read_text()
    assert "Forest plot of thermolion vs adamw" in page
    assert "Forest plot of lion vs adamw" not in page


def test_before_the_first_look_the_look_is_named(study):
    outcomes = [one for one in study() if one.trial.block < 3][:-1]
    analysis, _ = declare(study(), looks=(3, 5))
    found = compare("s", outcomes, QUESTIONS, analysis=analysis, looks=Looks((3, 5)))
    text = verdict_text(found)
    assert "lion vs adamw: 17 of 18 trials are in; no verdict before look 1 of 2, at 3" in text
    assert "thermolion vs adamw: 18 of 18 trials are in; look 1 of 2, at 3 seeds, is" in text


@pytest.fixture
def digits(study):
    return [one for one in study() if one.trial.workload.name == "digits"]


def test_a_comparison_without_a_frozen_analysis_is_headed_exploratory(digits, tmp_path):
    found = compare("s", digits, QUESTIONS)
    assert verdict_text(found).startswith("Exploratory: no analysis was frozen before")
    page = write_report(found, digits, tmp_path).read_text()
    assert '<h2 id="verdict">Exploratory</h2>' in page
    assert "## Exploratory" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "comparison.json").read_text())["exploratory"] is True
    with (tmp_path / "numbers" / "answers.csv").open(newline="") as file:
        assert {row["exploratory"] for row in csv.DictReader(file)} == {"True"}
    analysis, _ = declare(digits)
    frozen = compare("s", digits, QUESTIONS, analysis=analysis)
    assert "xploratory" not in verdict_text(frozen)


def test_a_verdict_on_untuned_settings_has_a_box_with_the_next_command(digits, tmp_path):
    analysis, _ = declare(digits)
    command = "thermolion run s --set study=s-tuned --set 'tune={trials: 8}'"
    found = replace(
        compare("s", digits, QUESTIONS, analysis=analysis),
        untuned=Untuned(("thermolion", "adamw"), (("adamw", 2e-2),), command),
    )
    text = verdict_text(found)
    first, second = text.split("\n\n")[:2]
    assert "undecided (untuned) in final test accuracy" in first
    assert "+-- Untuned ---" in first
    assert "thermolion (lr by default) and adamw (lr 0.02) ran as declared" in first
    assert command in first
    assert "adamw (lr 0.02) ran as declared" in second
    page = write_report(found, digits, tmp_path).read_text()
    assert page.count('<aside class="beside"><strong>Untuned.</strong>') == 2
    assert page.count("thermolion run s --set") == text.count(command) == 1
    assert "> **Untuned.** thermolion (lr by default)" in (tmp_path / "report.md").read_text()
    assert "better (untuned)" in page


def test_where_there_is_no_answer_no_box_says_that_other_settings_would_turn_it(arms, tmp_path):
    outcomes = arms("digits", [0.95], [0.91])
    found = compare("s", outcomes, QUESTIONS[:1])
    found = replace(found, untuned=Untuned(("thermolion",), (), "thermolion run s --set tune=1"))
    page = write_report(found, outcomes, tmp_path).read_text()
    for text in (verdict_text(found), page, (tmp_path / "report.md").read_text()):
        assert "not estimable" in text
        assert "nobody has searched" not in text
        assert "thermolion run s --set" not in text


def test_with_one_search_a_sentence_names_settings_and_never_the_optimizer_alone(arms):
    outcomes = arms("digits", [0.95, 0.96, 0.95, 0.97, 0.96], [0.91, 0.92, 0.91, 0.93, 0.9])

    def chosen(one, lr):
        values = {"lr": lr, "weight_decay": 0.1} if one.trial.candidate.name == "adamw" else {}
        candidate = replace(one.trial.candidate, hyperparameters=values or {"lr": 1e-3})
        return replace(one, trial=replace(one.trial, candidate=candidate))

    tuned = Units(1, frozenset({"thermolion", "adamw"}))
    alike = [chosen(one, 3e-3) for one in outcomes]
    text = verdict_text(compare("s", alike, QUESTIONS[:1], units=tuned))
    assert "thermolion at lr 1e-3 vs adamw at lr 3e-3, weight decay 0.1:\n" in text
    more = [
        chosen(one, lr)
        for name, lr in (("kmnist", 1e-3), ("usps", 1e-4), ("svhn", 0.02), ("mnist", 0.03))
        for one in arms(name, [0.95, 0.96, 0.97], [0.91, 0.93, 0.92])
    ]
    text = verdict_text(compare("s", [*alike, *more], QUESTIONS[:1], units=tuned))
    assert (
        "thermolion vs adamw, at the settings of one search:\n  thermolion at lr 1e-3; adamw at "
        "lr 3e-3 on digits, 1e-3 on kmnist, 1e-4 on usps and others on 2 more and weight decay "
        "0.1: see Tuning.\n"
    ) in text


def test_with_several_searches_an_answer_counts_searches_and_names_optimizers(arms):
    gains = [0.01, 0.012, 0.009, 0.011, 0.013, 0.01, 0.011, 0.012, 0.01, 0.012]
    outcomes = arms("digits", [0.9 + g for g in gains], [0.9] * 10)
    tuned = Units(5, frozenset({"thermolion", "adamw"}))
    found = compare("s", outcomes, QUESTIONS[:1], units=tuned)
    text = verdict_text(found)
    assert "thermolion vs adamw:\n  better in final test accuracy: +1.10 pp" in text
    assert "5 searches" in text


def test_too_few_seeds_and_lost_trials_are_said_where_the_word_would_stand(arms, outcome):
    few = compare("s", arms("digits", [0.95, 0.96, 0.97], [0.9, 0.9, 0.91]), QUESTIONS[:1])
    said = verdict_text(few)
    assert "Too few seeds for a word" in said
    assert "+5.67 pp, 95% CI [+" in said
    assert "adjusted p" not in said.partition("Of studies")[0]
    outcomes = arms("digits", [0.95, 0.96, 0.97, 0.95, 0.96, 0.97], [0.9] * 5 + [0.91])
    outcomes[2] = outcome(
        "thermolion", "digits", 2, state="failed", error="out of memory", kind="OutOfMemoryError"
    )
    text = verdict_text(compare("s", outcomes, QUESTIONS[:1]))
    assert "undecided in final test accuracy" in text
    assert "Trials of thermolion ended without a result by what training can cause" in text


def test_no_output_has_an_adjusted_p_beside_what_can_have_no_word(arms, tmp_path):
    outcomes = [aimed(one) for one in arms("digits", [0.95, 0.96, 0.97], [0.85, 0.85, 0.86])]
    found = compare("s", outcomes, QUESTIONS[:1])
    page = write_report(found, outcomes, tmp_path).read_text()
    for text in (verdict_text(found), (tmp_path / "report.md").read_text(), page):
        rows = [line for line in text.splitlines() if "undecided (too few seeds)" in line]
        assert rows or text is page
        assert not [row for row in rows if re.search(r"0\.\d{3}|<0|&lt;0", row)]
        assert "adjusted p =" not in text
        assert "adjusted p <" not in text
    record = json.loads((tmp_path / "comparison.json").read_text())
    for row in (*record["pooled"], *record["by_workload"], *record["time_to_target"]["speedups"]):
        assert (row["p_adjusted"], row["p_valid"], row.get("equivalence_p")) == (None, None, None)
        assert (row.get("estimate") or row["log_ratio"])["mean"] is not None
    for name in ("answers", "speedups"):
        with (tmp_path / "numbers" / f"{name}.csv").open(newline="") as file:
            assert {row["p_adjusted"] for row in csv.DictReader(file)} == {""}
    metrics = {
        one.key.partition("/")[0] for one in study_record(outcomes, "s", None, found).metrics
    }
    assert "difference" in metrics
    assert "p_adjusted" not in metrics


def test_diverged_trials_bring_the_advice_to_ask_who_wins_more_often(begun):
    done = [one for one in begun if one.has_result and one.trial.candidate.name != "thermolion"]
    both = {
        name: {o.trial.block for o in done if o.trial.candidate.name == name}
        for name in ("lion", "adamw")
    }
    done = [one for one in done if one.trial.block in both["lion"] & both["adamw"]]
    analysis, registered = declare(done)
    analysis = replace(analysis, questions=(QUESTIONS[1],))
    found = compare("s", done, [QUESTIONS[1]], analysis=analysis)
    advice = "`thermolion run s --confirm s-wins --set analysis.primary=win_probability`"
    assert advice in verdict_text(replace(found, registration=registered))
    wins = replace(found, registration=registered, primary="win_probability")
    assert advice not in verdict_text(wins)


def test_a_look_that_was_closed_with_trials_missing_says_so(begun):
    analysis, _ = declare(begun)
    text = verdict_text(compare("s", begun, QUESTIONS, analysis=analysis, closed=True))
    assert "Not in yet" not in text
    assert (
        "The look was closed with trials missing: thermolion vs adamw (24 of 30), lion vs adamw "
        "(24 of 30) were in."
    ) in text


def test_commands_in_sentences_are_set_as_code(interim, begun, tmp_path):
    page = write_report(interim, begun, tmp_path).read_text()
    assert "<code>thermolion compare s --close-look</code> ends it" in page
    assert "`thermolion compare s --close-look` ends it" in (tmp_path / "report.md").read_text()
