"""Figures: deterministic, accessible, and true to what they are given."""

import math
import re

import pytest

from tracking.compare.compare import compare
from tracking.questions.analysis import Question
from tracking.questions.endpoint import AUC, FINAL
from tracking.report.figures import plots
from tracking.report.figures.curves import learning_curve
from tracking.report.figures.forest import forest_plot

QUESTION = Question("thermolion", "adamw")


@pytest.fixture
def comparison(study):
    return compare("s", study(), [QUESTION])


@pytest.fixture
def styles(comparison):
    return plots.lines(comparison.candidates)


def test_a_figure_drawn_twice_has_the_same_bytes(study, comparison, styles):
    trials = [one for one in study() if one.trial.workload.name == "digits"]
    for draw in (
        lambda: learning_curve("digits", trials, "val_accuracy", styles),
        lambda: forest_plot(comparison.pooled[:1], comparison, styles),
    ):
        assert draw() == draw()


def test_a_learning_curve_names_candidates_and_seeds(study, styles):
    trials = [one for one in study(blocks=4) if one.trial.workload.name == "digits"]
    drawn = learning_curve("digits", trials, "val_accuracy", styles)
    assert "thermolion (n = 4)" in drawn
    assert 'role="img" aria-label="val accuracy on digits' in drawn
    assert plots.lines(["thermolion"])["thermolion"]["color"].lower() in drawn


def test_a_candidate_keeps_its_colour(styles):
    assert len({(line["color"], line["linestyle"]) for line in styles.values()}) == len(styles)
    many = plots.lines([str(number) for number in range(28)])
    assert len({(line["color"], str(line["linestyle"])) for line in many.values()}) == 28


def test_a_diverged_curve_ends_where_it_broke(outcome, styles):
    broken = outcome(curve=[(0, 0.1), (10, 0.5), (20, math.nan)], state="diverged")
    drawn = learning_curve("digits", [broken, outcome(block=1)], "val_accuracy", styles)
    assert "nan" not in drawn.lower()


def test_a_metric_that_nobody_logged_draws_an_empty_panel(outcome, styles):
    assert "<svg" in learning_curve("digits", [outcome()], "val_f1", styles)


def test_a_forest_plot_prints_its_numbers(comparison, styles):
    rows = comparison.rows(QUESTION, FINAL)
    drawn = forest_plot(rows, comparison, styles)
    assert "+0.37 [+0.14, +0.59]" in drawn
    assert "pooled (3)" in drawn


def test_a_forest_plot_of_nothing_is_drawn_all_the_same(arms, styles):
    empty = compare("s", arms("digits", [0.9], [0.8]), [QUESTION])
    drawn = forest_plot(empty.rows(QUESTION, AUC), empty, styles)
    assert "<svg" in drawn


def test_names_that_look_like_markup_stay_text(outcome):
    name = "a<b>&$x$_{1}"
    drawn = learning_curve(name, [outcome(name)], "val_accuracy", plots.lines([name]))
    assert "<b>" not in drawn
    assert "a&lt;b&gt;&amp;$x$_{1} (n = 1)" in drawn


def test_ids_of_two_figures_do_not_meet(study, styles):
    drawn = [learning_curve(name, study(2), "val_accuracy", styles) for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', each)) for each in drawn]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_losses_over_decades_are_drawn_on_a_readable_logarithmic_axis(outcome, styles):
    curve = [(0, 0.1), (10, 0.9), (40, 0.9)]
    trials = [outcome(block=block, curve=curve) for block in range(2)]
    for number, trial in enumerate(trials):
        for step, point in enumerate(trial.curve):
            point.metrics["train_loss"] = 1000.0 / 10 ** (2 * step) * (1 + number)
    drawn = learning_curve("digits", trials, "train_loss", styles)
    assert "mathdefault" not in drawn
    assert ">1000<" in drawn
