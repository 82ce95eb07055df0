"""Results read from what a script prints, by a lane: steps, values, contradictions, silence."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import script_results
from commands import Study, curve, failure

from jobs.contract.asha import Rungs
from jobs.contract.events import Event
from jobs.contract.workloads.workload import DivergenceLimit, MetricSpec

ACCURACY = MetricSpec("acc")


def run(
    study: Study, script: str, lines: Any, spec: MetricSpec = ACCURACY, **fields: Any
) -> list[Event]:
    record = {"lines": [lines] if isinstance(lines, str) else lines}
    record |= {"final": fields.pop("final")} if "final" in fields else {}
    return script_results.run(study, script, record, spec=spec, **fields)


def test_the_steps_and_values_of_a_text_pattern_are_the_curve(study: Study) -> None:
    script = "for e in (1, 2, 3): print(f'Epoch  {e}/3 done  acc={e / 4:.2f}, loss=1e-0{e}')"
    events = run(study, script, "Epoch {epoch}/{} acc={acc}, loss={loss}")
    points = {e: {"acc": e / 4, "loss": 10.0**-e} for e in (1, 2, 3)}
    assert curve(events) == points
    assert events[-1].type == "completed"
    assert events[-1].payload["metrics"] == points[3]


def test_a_regex_with_named_groups_reads_the_same(study: Study) -> None:
    script = "for e in (1, 2): print(f'[{e}] accuracy: {100 * e / 4}%')"
    events = run(study, script, r"^\[(?P<step>\d+)\] acc\w*: (?P<acc>[\d.]+)%")
    assert curve(events) == {1: {"acc": 25.0}, 2: {"acc": 50.0}}


def test_a_metric_without_a_step_is_at_the_step_that_was_printed_last(study: Study) -> None:
    # The form of the well-known MNIST loop: the step stands in other lines than the accuracy.
    script = (
        "for e in (1, 2):\n"
        "    for n in (0, 640): print(f'Train Epoch: {e} [{n}/6400 (0%)]\\tLoss: {n / e}')\n"
        "    print(f'\\nTest set: Average loss: 0.5, Accuracy: {e}/10 ({10 * e}%)\\n')\n"
    )
    lines = ["Train Epoch: {epoch} [{}] Loss: {loss}", "Accuracy: {}/{} ({acc}%)"]
    events = run(study, script, lines)
    assert curve(events) == {1: {"loss": 640.0, "acc": 10.0}, 2: {"loss": 320.0, "acc": 20.0}}


def test_values_without_any_step_are_counted(study: Study) -> None:
    events = run(study, "for e in (1, 2, 3): print('acc', e / 8)", "acc {acc}")
    assert curve(events) == {e: {"acc": e / 8} for e in (1, 2, 3)}


def test_a_final_pattern_gives_the_result_and_no_point_and_its_last_value_counts(
    study: Study,
) -> None:
    script = "for e in (1, 2): print(f'{e}: acc {e / 8}'); print(f'best {e / 16}')"
    spec = MetricSpec("acc", "best")
    events = run(study, script, "{step}: acc {acc}", spec, final=["best {best}"])
    assert curve(events) == {1: {"acc": 0.125}, 2: {"acc": 0.25}}
    assert events[-1].payload["metrics"] == {"acc": 0.25, "best": 0.125}


def test_colours_progress_bars_and_a_last_line_without_end_are_read(study: Study) -> None:
    script = (
        "import sys\n"
        "for e in (1, 2):\n"
        "    for part in (1, 2): sys.stdout.write(f'\\r\\x1b[32mepoch {e}\\x1b[0m acc {part}')\n"
        "    sys.stdout.write('\\r\\n' if e == 1 else '')\n"
    )
    assert curve(run(study, script, "epoch {epoch} acc {acc}")) == {
        1: {"acc": 2.0},
        2: {"acc": 2.0},
    }


def test_a_value_is_logged_while_the_script_runs_and_its_time_is_that_of_its_line(
    study: Study,
) -> None:
    script = (
        "import time\n"
        "print('1 acc 0.5', flush=True)\n"
        "time.sleep(0.4)\n"
        "print('2 acc 0.6', flush=True)\n"
    )
    events = run(study, script, "{step} acc {acc}")
    first, second = (e.payload["train_seconds"] for e in events if e.type == "evaluated")
    assert second - first >= 0.35


@pytest.mark.parametrize("printed", ["nan", "inf", "-inf", "NaN"])
def test_a_value_that_is_not_finite_ends_the_trial_as_diverged_at_once(
    study: Study, printed: str
) -> None:
    script = (
        f"import time\nprint('1 acc 0.5')\nprint('2 acc {printed}', flush=True)\ntime.sleep(60)"
    )
    events = run(study, script, "{step} acc {acc}")
    assert events[-1].type == "diverged"
    assert "at step 2" in events[-1].payload["error"]
    assert not math.isfinite(float(curve(events)[2]["acc"]))


def test_a_value_past_the_limit_ends_the_trial_at_once(study: Study) -> None:
    script = "import time\nprint('1 loss 50 acc 0.1', flush=True)\ntime.sleep(60)"
    limit = DivergenceLimit("loss", above=20)
    events = run(study, script, "{step} loss {loss} acc {acc}", diverged=limit)
    assert events[-1].type == "diverged"
    assert "loss is 50, above the limit of 20" in events[-1].payload["error"]


def test_a_script_is_ended_at_a_rung_by_what_it_prints(study: Study) -> None:
    one = script_results.reading({"lines": ["{step} acc {acc}"]}, spec=ACCURACY, steps=9)
    one = replace(one, phase="tune", rungs=Rungs((2,), 3, "all"))
    study.layout.events.mkdir(parents=True)
    others = [
        {"v": 1, "type": "measured", "trial": f"other-{value}", "attempt": 0, "seq": 0}
        | {"time_ms": 0, "rivals": "all", "rung": 2, "value": value, "goes_on": True}
        for value in (0.8, 0.9)
    ]
    lines = [json.dumps(other, separators=(",", ":")) + "\n" for other in others]
    (study.layout.events / "0000-0-0-9.jsonl").write_text("".join(lines))
    script = "import time\nfor e in (1, 2, 3): print(e, 'acc', e / 10, flush=True)\ntime.sleep(60)"
    study.write("train.py", script)
    events = study.run_trial(one)
    assert (events[-1].type, events[-1].payload["rung"]) == ("completed", 2)


def test_a_pattern_without_a_match_fails_with_the_line_that_is_most_like_it(study: Study) -> None:
    script = "print('loading')\nfor e in (1, 2): print(f'Epoch {e} accuracy: {e / 4}')"
    kind, error = failure(run(study, script, "Epoch {epoch} acc={acc}"))
    assert kind == "UnreadResults"
    assert "'Epoch {epoch} acc={acc}' matches none of the 3 lines" in error
    assert "line 3 is the most like it: 'Epoch 2 accuracy: 0.5'" in error


def test_a_group_that_is_no_number_fails_with_its_line(study: Study) -> None:
    kind, error = failure(run(study, "print('\\nacc: best')", r"acc: (?P<acc>\w+)"))
    assert kind == "UnreadResults"
    assert "line 2 of the output, 'acc: best': acc is 'best', which is no number" in error


def test_a_step_that_comes_back_with_another_value_fails_with_both_lines(study: Study) -> None:
    script = "for acc in (1, 2):\n    for e in (1, 2): print(e, 'acc', acc)"
    kind, error = failure(run(study, script, "{step} acc {acc}"))
    assert kind == "UnreadResults"
    assert "two values of acc at step 1: 1 in line 1 of the output, and 2 in line 3" in error


def test_what_is_logged_to_us_as_well_has_to_agree(study: Study) -> None:
    script = "import thermolion\nprint('1 acc 0.5')\nthermolion.log(1, acc={})\nprint('end')"
    agreeing = run(study, script.format("1 / 2"), "{step} acc {acc}")
    assert curve(agreeing) == {1: {"acc": 0.5}}
    assert agreeing[-1].type == "completed"


def test_what_is_logged_to_us_and_contradicts_is_one_error(study: Study) -> None:
    script = "import thermolion\nprint('1 acc 0.5')\nthermolion.log(1, acc=0.25)"
    kind, error = failure(run(study, script, "{step} acc {acc}"))
    assert kind == "UnreadResults"
    assert "two values of acc at step 1" in error
    assert "line 1 of the output" in error
    assert "$THERMOLION_LOG:1" in error


def test_a_script_that_fails_is_a_failure_of_the_script(study: Study) -> None:
    kind, error = failure(
        run(study, "print('1 acc 0.5')\nraise SystemExit(3)", "{step} acc {acc}")
    )
    assert kind == "ExitCode"
    assert "exit code 3" in error
