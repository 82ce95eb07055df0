"""What is frozen of endpoints: old analyses keep their hash, new ones say each in full."""

import pytest

from tracking.questions.analysis import Analysis, Question
from tracking.questions.endpoint import AUC, FINAL, STANDARD, Endpoint, list_endpoints

# Hashes by the code of before endpoints were values.
_BOTH = "c23322dc15545c101f935fac3aba06edbff7c5b586e7f8c7dfec0b82c34c3122"
_SPEED = "ef67947c8ad213a1c5628c6f6762273498cb935b3a3c46227fd54bf61fc2902a"
LOSS = Endpoint("final", "test_loss", goal="min")


def test_an_analysis_of_the_two_usual_endpoints_keeps_its_hash_and_is_read():
    asked, workloads, candidates = (Question("a", "b"),), {"w": "k1"}, {"a": "k2", "b": "k3"}
    both = Analysis(
        asked,
        workloads,
        candidates,
        (0, 1, 2, 3, 4),
        margins={"val_auc": 0.3},
        targets={"w": None},
    )
    speed = Analysis(asked, workloads, candidates, (0, 1, 2), endpoints=(AUC,))
    assert (both.hash, speed.hash) == (_BOTH, _SPEED)
    assert both.to_json()["endpoints"] == ["final_test_accuracy", "val_auc"]
    assert Analysis.from_json(both.to_json()) == both


@pytest.mark.parametrize(
    "endpoint",
    [
        *STANDARD,
        LOSS,
        Endpoint("final", one_sided=True),
        Endpoint("auc", "val_loss", goal="min", clock="seconds"),
        Endpoint("time_to_target", target=0.9, one_sided=True),
        Endpoint("time_to_target", "val_loss", "min", "plain", 2.3, 0.5, "seconds"),
    ],
)
def test_an_endpoint_is_read_as_it_was_recorded(endpoint):
    assert Endpoint.from_json(endpoint.to_json()) == endpoint


def test_the_two_usual_ones_are_measured_in_any_case_and_asked_as_declared():
    sided = Endpoint("auc", one_sided=True)
    assert list_endpoints((LOSS, sided)) == (FINAL, sided, LOSS)
