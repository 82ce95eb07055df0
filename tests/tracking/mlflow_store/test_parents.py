"""What a candidate on a workload looks like in MLflow, as data: no store takes part."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tracking.mlflow_store.parents import by_cell, cell_record
from tracking.mlflow_store.record import RunRecord, trial_record
from tracking.outcomes import Outcome

Make = Callable[..., Outcome]
ACCURACY = [0.5, 0.75, 0.625, 0.875]


@pytest.fixture
def begun(outcome: Make) -> Make:
    """Outcomes with the times that logs give them."""

    def make(*given: Any, **named: Any) -> Outcome:
        made = outcome(*given, **named)
        block = made.trial.block
        ended = None if made.state in ("waiting", "running") else 9_000 + block
        return replace(made, started_ms=1_000 + block, ended_ms=ended)

    return make


def _records(outcomes: list[Outcome]) -> dict[str, RunRecord]:
    cells = by_cell(outcomes)
    records = [cell_record(key, trials, "s") for key, trials in cells.items()]
    assert len({record.tags["thermolion.cell"] for record in records}) == len(records)
    return {record.name: record for record in records}


def test_a_cell_has_mean_and_spread_over_its_blocks(begun: Make) -> None:
    trials = [begun("adamw[lr=0.1]", block=n, accuracy=a) for n, a in enumerate(ACCURACY)]
    records = _records([*trials, begun("lion", state="failed")])
    assert set(records) == {"digits · adamw[lr=0.1]", "digits · lion"}
    record = records["digits · adamw[lr=0.1]"]
    points = {(one.key, one.step): one.value for one in record.metrics}
    for n in range(2, 5):
        mean, sd = np.mean(ACCURACY[:n]), np.std(ACCURACY[:n], ddof=1)
        assert points["final_test_accuracy", n] == pytest.approx(mean)
        assert points["final_test_accuracy.sd", n] == pytest.approx(sd)
    assert ("final_test_accuracy.sd", 1) not in points
    assert record.tags["thermolion.trials"] == "4 completed"
    assert record.tags["thermolion.candidate"] == "adamw[lr=0.1]"
    assert (record.status, record.start_ms, record.end_ms) == ("FINISHED", 1_000, 9_003)
    assert records["digits · lion"].status == "FAILED"


def test_a_cell_has_the_params_that_its_trials_share(begun: Make) -> None:
    trials = [begun("adamw", block=block) for block in range(2)]
    (record,) = _records(trials).values()
    shared = set.intersection(*(set(trial_record(t, "s").params.items()) for t in trials))
    assert record.params.items() <= shared
    assert record.params["lr"] == "0.001"
    assert not any(name.startswith("seed.") for name in record.params)


def test_renaming_keeps_a_cell_and_another_workload_or_phase_is_another(begun: Make) -> None:
    one = begun("adamw")
    renamed = replace(one.trial.candidate, name="baseline")
    other = replace(one.trial, candidate=renamed)
    assert by_cell([one]).keys() == by_cell([replace(one, trial=other)]).keys()
    tuning = replace(one, trial=replace(one.trial, phase="tune"))
    elsewhere = begun("adamw", workload="letters")
    assert len(by_cell([one, tuning, elsewhere])) == 3
    assert "tune · digits · adamw" in _records([one, tuning, elsewhere])


def test_settings_of_several_searches_share_a_cell_that_has_none_of_them(begun: Make) -> None:
    def found(block: int, lr: float, accuracy: float) -> Outcome:
        one = begun("adamw", block=block, accuracy=accuracy)
        settings = {**one.trial.candidate.hyperparameters, "lr": lr}
        candidate = replace(one.trial.candidate, hyperparameters=settings, search_number=block)
        return replace(one, trial=replace(one.trial, candidate=candidate))

    trials = [found(0, 1e-3, 0.5), found(1, 3e-3, 0.75)]
    (record,) = _records(trials).values()
    assert not {"lr", "weight_decay"} & record.params.keys()
    assert record.params["dataset"] == "digits"
    tags = [trial_record(one, "s").tags["thermolion.search"] for one in trials]
    assert tags == ["0", "1"]  # which block has the settings of which search
    points = {(one.key, one.step): one.value for one in record.metrics}
    assert points["final_test_accuracy", 2] == pytest.approx(0.625)
    assert by_cell(trials[:1]).keys() == by_cell(trials).keys()  # whichever search ends first


def test_a_cell_that_has_not_begun_is_none(outcome: Make) -> None:
    assert by_cell([outcome(state="waiting")]) == {}


def test_trials_name_their_data_set_with_its_digest(begun: Make) -> None:
    one = begun()
    (data,) = trial_record(one, "s").data
    assert (data.name, data.digest, data.source) == (
        "digits",
        "data-digits",
        '{"dataset":"digits"}',
    )
    (record,) = _records([one, begun(block=1)]).values()
    assert record.data == (data,)
    mixed = replace(begun(block=1), started={"digests": {"data": "other"}})
    (record,) = _records([one, mixed]).values()
    assert [data.digest for data in record.data] == ["data-digits", "other"]
    assert trial_record(replace(one, started={}), "s").data == ()
