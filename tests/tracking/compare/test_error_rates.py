"""Simulated studies of known truth: by the functions of the product, and on the page."""

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.results import confirmatory
from orchestrator.study.trials import plan_trials
from orchestrator.sweep.document import Document
from orchestrator.sweep.search_space import TunedCandidate, tuned_for
from orchestrator.sweep.sweep import resolve_sweep
from tracking.questions.interim import DECIDED

REPO = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimpleNamespace]:
    """The modules of the benchmark, which no package has."""
    names = ("error_rates", "simulation.simulated_studies", "simulation.tuned_studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPO)
        modules = [importlib.import_module(f"benchmarks.{name}") for name in names]
        yield SimpleNamespace(**{one.__name__.rpartition(".")[2]: one for one in modules})


def wrong(simulated: SimpleNamespace, cell: str, count: int, measure: str = "false") -> float:
    share, _ = simulated.error_rates.CELLS[cell].simulate(0, count).share(measure)
    return float(share)


def test_simulated_studies_are_answered_by_the_function_of_the_command_line(
    simulated: SimpleNamespace,
) -> None:
    assert simulated.simulated_studies.compare is confirmatory.compare


def test_equal_candidates_differ_as_often_as_the_level_says(simulated: SimpleNamespace) -> None:
    # 500 studies: three standard errors are 2.9 points.
    assert 0.021 < wrong(simulated, "one_test/1x5", 500) < 0.079
    assert wrong(simulated, "peeking/1x10", 80) > 0.1  # the simulation finds errors that are there


def test_tuned_twins_differ_no_more_often_unless_one_search_stands_for_an_optimizer(
    simulated: SimpleNamespace,
) -> None:
    assert wrong(simulated, "tuned_high/1x8", 300) < 0.088
    assert wrong(simulated, "one_high/1x8", 100) > 0.3


def test_the_words_of_all_looks_are_those_of_taking_one_after_another(
    simulated: SimpleNamespace,
) -> None:
    studies, cell = simulated.simulated_studies, simulated.error_rates.CELLS["one_sd/1xlooks"]
    design = cell.design
    plan, ended = studies.Plan(design), []
    for number in range(12):
        draws = cell.scenario.draw(np.random.default_rng(number), design)
        found, said = studies.follow(plan, draws)
        outcomes, words = studies.make_outcomes(plan, draws), set()
        for look in range(1, 5):
            there = studies.answer(plan, outcomes, {}, look)
            words |= {(one.endpoint, one.verdict) for one in there.confirmatory}
            if all(one.verdict in DECIDED for one in there.confirmatory):
                break
        assert said == words
        assert found.confirmatory == there.confirmatory
        ended.append(look)
    assert len(set(ended)) > 1


def test_a_plan_has_the_points_of_a_simulated_search(simulated: SimpleNamespace) -> None:
    tuned = simulated.tuned_studies
    low, high = tuned.RATES.low, tuned.RATES.high
    sweep = resolve_sweep(
        Document(
            Path("aa.yaml"),
            "",
            {
                "study": "aa",
                "workloads": [
                    {"name": name, "train": "aa:train", "metric": "val", "options": {"of": name}}
                    for name in ("w00", "w01")
                ],
                "candidates": {"a": {"optimizer": "sgd"}, "b": {"optimizer": "sgd", "replica": 1}},
                "compare": {"candidate": "a", "against": ["b"]},
                "tune": {
                    "trials": tuned.SETTINGS,
                    "space": {"*": {"lr": {"log": [low, high]}}},
                    "widen": 0,
                },
                "seeds": 8,
                "root_seed": 7,
            },
        )
    )
    assert sweep.searches == 5  # the default, and that of the simulated studies
    keys = {one.name: tuned_for(one, None) for one in sweep.workloads}
    tried: dict[tuple[str, str, int], list[float]] = {}
    for one in plan_trials(sweep):
        candidate, number = one.candidate, TunedCandidate.number_of(one.candidate)
        place = one.workload.name, candidate.declared, one.block
        found = tried.setdefault(place, [0.0] * tuned.SETTINGS)
        found[number - 1] = candidate.hyperparameters["lr"]
    assert len(tried) == 2 * 2 * 5
    for (workload, _, search), found in tried.items():
        assert found == tuned.draw_rates(7, search, keys[workload], workload == "w00")


def test_the_page_has_the_numbers_that_were_kept_and_they_meet_their_bars(
    simulated: SimpleNamespace, tmp_path: Path
) -> None:
    rates, copy = simulated.error_rates, tmp_path / "page.md"
    kept = rates.read_results()
    copy.write_text(rates.PAGE.read_text())
    rates.write_page(kept, copy)
    assert copy.read_text() == rates.PAGE.read_text()
    wrong = {name: one.share("false")[0] for name, one in kept.items()}
    for name in ("one_test/1x5", "one_test/1x10", "one_test/1xlooks"):
        assert kept[name].studies >= 4000, name
        assert 0.035 <= wrong[name] <= 0.065, name
    for noise, workloads in itertools.product(("low", "high"), (1, 8, 48)):
        name = f"tuned_{noise}/{workloads}x8"
        assert kept[name].studies >= 2000, name
        assert wrong[name] <= 0.065, name
    for control in ("peeking/1x10", "one_low/8x8", "one_high/8x8"):
        assert wrong[control] > 0.1, control
