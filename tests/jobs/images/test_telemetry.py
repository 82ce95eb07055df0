"""Trials that are asked about their layers: what they log, and that it changes nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from lanes import RICH, Study, made, result

from jobs.contract.events import TELEMETRY, read_events
from jobs.contract.trial import Trial
from jobs.lane import EXIT_INTERRUPTED

pytestmark = pytest.mark.usefixtures("as_it_was")

TOLD = replace(RICH, telemetry=True)


def _types(study: Study) -> list[str]:
    logs = sorted(study.layout.events.glob("*"))
    return [event.type for log in logs for event in read_events(log)]


def test_layers_are_logged_at_each_evaluation_and_no_bit_changes(tmp_path: Path) -> None:
    plain, observed = Study(tmp_path / "plain", made()), Study(tmp_path / "observed", made(TOLD))
    assert (plain.run(), observed.run()) == (0, 0)
    (without,), (outcome,) = plain.outcomes(), observed.outcomes()
    assert outcome.trial.id == without.trial.id
    assert result(outcome) == result(without)
    assert [kind for kind in _types(observed) if kind != TELEMETRY] == _types(plain)
    steps = [point.step for point in outcome.curve]
    assert list(outcome.layers) == steps[1:], "before the first step there is nothing to tell"
    assert without.layers == {}
    last = outcome.layers[steps[-1]]
    assert {name.rpartition(".")[2] for name in last} == {"weight", "bias"}
    for layer in last.values():
        assert 0 < layer["gate"] < 1
        assert 0 <= layer["alignment"] <= 1
        assert layer["temperature"] == pytest.approx(0.99 ** steps[-1])


def test_another_optimizer_logs_no_layers(tmp_path: Path) -> None:
    study = Study(tmp_path, made(TOLD, "adamw"))
    assert study.run() == 0
    assert TELEMETRY not in _types(study)


def test_a_resumed_trial_logs_the_layers_of_each_step_once_and_equally(tmp_path: Path) -> None:
    whole, broken = (Study(tmp_path / name, made(TOLD)) for name in ("whole", "broken"))
    whole.run()
    assert broken.run(stop_after=3) == EXIT_INTERRUPTED
    kept = broken.layout.checkpoint(broken.trials[0].id).read_bytes()
    assert broken.run(stop_after=8) == EXIT_INTERRUPTED
    broken.layout.checkpoint(broken.trials[0].id).write_bytes(kept)  # as if killed before
    assert broken.run() == 0
    assert _types(broken).count(TELEMETRY) > _types(whole).count(TELEMETRY)
    assert broken.outcomes()[0].layers == whole.outcomes()[0].layers


def test_the_label_survives_the_record_of_a_trial() -> None:
    assert Trial.from_json(made(TOLD).to_json()) == made(TOLD)
