"""Results of Lightning's and Hugging Face's own loggers, read from what they leave."""

import json
from pathlib import Path
from typing import Any

import event_writer
import pytest
from commands import Study, failure
from script_results import points, run

from jobs.contract.workloads.workload import MetricSpec

LIGHTNING, TRAINER = {"logger": "lightning"}, {"logger": "huggingface"}

# As CSVLogger writes it: rows of training, of validation, of the test.
TABLE = """\
epoch,step,train_loss,val_acc,test_acc
0,9,2.0,,
0,9,,0.25,
1,19,1.0,,
1,19,,0.5,
2,20,,,0.75
"""


def test_the_table_of_lightning_is_the_curve(study: Study) -> None:
    script = (
        "import pathlib\nfolder = pathlib.Path('lightning_logs/version_0')\n"
        f"folder.mkdir(parents=True)\n(folder / 'metrics.csv').write_text({TABLE!r})\n"
    )
    events = run(study, script, LIGHTNING, spec=MetricSpec("val_acc", "test_acc"))
    assert points(events, "val_acc") == {9: 0.25, 19: 0.5}
    assert events[-1].payload["metrics"]["test_acc"] == 0.75


def test_several_loggers_of_lightning_that_agree_are_one_curve(study: Study) -> None:
    script = (
        f"import sys\nsys.path.insert(0, {str(Path(event_writer.__file__).parent)!r})\n"
        "import event_writer, pathlib\nfolder = pathlib.Path('lightning_logs/version_0')\n"
        "event_writer.written(folder, [(9, 'val_acc', 0.1), (19, 'val_acc', 0.7)])\n"
        "(folder / 'metrics.csv').write_text('epoch,step,val_acc\\n0,9,0.1\\n1,19,0.7\\n')\n"
    )
    events = run(study, script, LIGHTNING, spec=MetricSpec("val_acc"))
    assert points(events, "val_acc") == {9: 0.1, 19: 0.7}
    assert events[-1].type == "completed"


STATES = """\
import json, pathlib
for folder, steps in (("out/checkpoint-10", 1), ("out/checkpoint-20", 2)):
    pathlib.Path(folder).mkdir(parents=True)
    history = [
        row
        for n in range(1, steps + 1)
        for row in (
            {"loss": 2 / n, "epoch": n / 1, "step": 10 * n},
            {"eval_acc": n / 4, "eval_runtime": 1.0, "epoch": n / 1, "step": 10 * n},
        )
    ]
    state = {"global_step": 10 * steps, "log_history": history}
    pathlib.Path(folder, "trainer_state.json").write_text(json.dumps(state))
"""
PRINTED = """\
for n in (1, 2):
    print({'loss': f'{2 / n:.4g}', 'epoch': f'{n - 0.5:.4g}'})
    print({'eval_acc': f'{n / 4:.4g}', 'eval_loss': float('nan'), 'epoch': f'{n:.4g}'})
print({'train_runtime': '5.1', 'train_loss': '1.5', 'epoch': '2'})
"""


def test_the_state_of_a_trainer_is_the_curve_with_its_steps(study: Study) -> None:
    events = run(study, STATES + PRINTED, TRAINER, spec=MetricSpec("eval_acc"))
    assert points(events, "eval_acc") == {10: 0.25, 20: 0.5}
    assert events[-1].payload["metrics"]["loss"] == 1.0


def test_without_a_state_what_the_trainer_prints_is_the_curve(study: Study) -> None:
    events = run(study, PRINTED, TRAINER, spec=MetricSpec("eval_acc"))
    assert points(events, "eval_acc") == {1: 0.25, 2: 0.5}
    assert points(events, "loss") == {1: 2.0, 2: 1.0}  # of half epochs: they are counted


def test_names_of_its_callback_for_tensorboard_are_those_of_the_trainer(study: Study) -> None:
    values = [(10, "eval/acc", 0.25), (20, "eval/acc", 0.5), (10, "train/loss", 2.0)]
    script = (
        f"import sys\nsys.path.insert(0, {str(Path(event_writer.__file__).parent)!r})\n"
        "import event_writer, pathlib\n"
        f"event_writer.written(pathlib.Path('out/runs/x'), {values})\n"
    )
    events = run(study, script, TRAINER, spec=MetricSpec("eval_acc"))
    assert points(events, "eval_acc") == {10: 0.25, 20: 0.5}
    assert events[-1].payload["metrics"]["loss"] == 2.0


def test_results_that_a_trainer_saves_are_final_metrics(study: Study) -> None:
    saved = json.dumps({"predict_acc": 0.75, "eval_acc": 0.9})
    script = STATES + f"pathlib.Path('out/all_results.json').write_text({saved!r})\n"
    events = run(study, script, TRAINER, spec=MetricSpec("eval_acc", "predict_acc"))
    assert events[-1].payload["metrics"]["predict_acc"] == 0.75
    assert events[-1].payload["metrics"]["eval_acc"] == 0.5


def test_a_loss_that_the_trainer_prints_as_nan_ends_the_trial_at_once(study: Study) -> None:
    script = "import time\nprint({'loss': float('nan'), 'epoch': 0.1}, flush=True)\ntime.sleep(60)"
    events = run(study, script, TRAINER, spec=MetricSpec("loss", goal="min"))
    assert events[-1].type == "diverged"


@pytest.mark.parametrize(
    ("source", "needle"),
    [
        (LIGHTNING, "no logger of Lightning (CSVLogger, TensorBoardLogger, MLFlowLogger) has"),
        (TRAINER, "the Trainer has left no trainer_state.json below ., and has printed no"),
    ],
)
def test_loggers_that_left_nothing_are_one_error(
    study: Study, source: dict[str, Any], needle: str
) -> None:
    kind, error = failure(run(study, "print('nothing')", source))
    assert kind == "UnreadResults"
    assert needle in error


def test_a_metric_that_the_trainer_has_not_logged_names_those_that_it_has(study: Study) -> None:
    _, error = failure(run(study, STATES, TRAINER, spec=MetricSpec("acc")))
    assert "the Trainer has logged no 'acc', it has logged epoch, eval_acc" in error
