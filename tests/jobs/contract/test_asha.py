"""A tuning trial ends at a rung if others were better there, whoever trains it, and only then."""

import dataclasses
import json

import commands
import pytest
from lanes import Study, made
from rank_lanes import Study as Ranks
from rank_trials import PLAIN, trial

from jobs.contract.asha import Rungs
from jobs.contract.events import read_events
from jobs.contract.trial import Trial
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from jobs.lane import EXIT_INTERRUPTED
from tracking.compare.endpoints import last_curve_value

pytestmark = pytest.mark.usefixtures("as_it_was")

SMALL = dataclasses.replace(PLAIN, name="small", epochs=4)
STEPS = """
def train(trial, context):
    for step in range(1, 13):
        context.log(step, loss=1 / step)
        if context.should_save():
            context.save({})
        if context.should_stop():
            return
"""
DEAF = """
def train(trial, context):
    for step in range(1, 13):
        context.log(step, loss=1 / step)
"""


def _with_rungs(one, *at):
    return dataclasses.replace(one, phase="tune", rungs=Rungs(at, 3, "all"))


def _meets(study, one, rung, *values, **own):
    """Have others at a rung, who were there before; or itself, in an earlier attempt."""
    study.layout.events.mkdir(parents=True, exist_ok=True)
    name = f"0000-0-{len(list(study.layout.events.iterdir()))}-9"
    lines = [{"trial": f"{name}-{number}", "value": v} for number, v in enumerate(values)]
    lines += [{"trial": one.id, **own}] if own else []
    rest = {"v": 1, "type": "measured", "attempt": 0, "seq": 0, "time_ms": 0, "goes_on": True}
    rest |= {"rivals": one.rungs.competitors, "rung": rung}
    # The type stands where the reader of attempts looks for it.
    written = [{"v": 1, "type": "measured"} | rest | line for line in lines]
    log = study.layout.events / f"{name}.jsonl"
    log.write_text("".join(json.dumps(w, separators=(",", ":")) + "\n" for w in written))


def _told(study, one):
    """Return what was said of a trial at its rungs."""
    logs = sorted(study.layout.events.glob("*.jsonl"))
    logged = [event for log in logs for event in read_events(log)]
    return {
        event.payload["rung"]: (event.payload["value"], event.payload["goes_on"])
        for event in logged
        if event.type == "measured" and event.trial == one.id
    }


def _own(folder, code, ranks=1):
    (folder / "my_rungs.py").write_text(code)
    reading = MetricSpec("loss", goal="min")
    return UserWorkload(
        "mine", train="my_rungs:train", steps=12, declared_metric=reading, ranks=ranks
    )


def test_images_end_after_the_epoch_at_which_others_were_better(tmp_path):
    one = _with_rungs(made(SMALL, "sgd"), 1, 3)
    study = Study(tmp_path, one)
    _meets(study, one, 1, 0.0, 0.0)
    _meets(study, one, 3, 0.999, 0.998)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.rung, outcome.metrics) == ("completed", 3, {})
    assert outcome.curve[-1].epoch == 3
    assert _told(study, one)[1][1]
    assert _told(study, one)[3] == (outcome.curve[-1].metrics["val_accuracy"], False)
    assert not study.layout.checkpoint(one.id).exists()
    assert study.run() == 0
    assert study.outcomes()[0].attempts == 1


def test_alone_it_goes_to_the_end_with_the_bits_of_a_trial_without_rungs(tmp_path):
    plain = dataclasses.replace(made(SMALL, "sgd"), phase="tune")
    one = _with_rungs(plain, 1, 3)
    assert one.id != plain.id
    assert Trial.from_json(json.loads(json.dumps(one.to_json()))) == one
    study = Study(tmp_path, one, plain)
    assert study.run() == 0
    with_rungs, without = study.outcomes()
    assert with_rungs.rung is None
    assert with_rungs.weights == without.weights


def test_what_an_attempt_was_told_holds_for_the_next_one(tmp_path):
    one = _with_rungs(made(SMALL, "sgd"), 1)
    study = Study(tmp_path, one)
    assert study.run(stop_after=7) == EXIT_INTERRUPTED  # of 4 steps an epoch
    study.layout.checkpoint(one.id).unlink()
    _meets(study, one, 1, 1.0, 1.0, 1.0)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.attempts, outcome.state, outcome.rung) == (2, "completed", None)


def test_who_was_told_to_end_ends_in_the_next_attempt_with_the_value_it_had(tmp_path):
    one = _with_rungs(made(_own(tmp_path, STEPS)), 3)
    study = Study(tmp_path, one, code_root=tmp_path)
    _meets(study, one, 3, 0.1, 0.2, value=1 / 3, goes_on=False)  # it died before it could end
    _meets(study, one, 3, *[9.0] * 5)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.rung, outcome.metrics) == ("completed", 3, {})
    assert _told(study, one) == {3: (1 / 3, False)}


def test_what_was_taken_back_counts_at_no_rung(tmp_path):
    one = _with_rungs(made(_own(tmp_path, STEPS)), 3)
    study = Study(tmp_path, one, code_root=tmp_path)
    _meets(study, one, 3, value=0.1, goes_on=False)
    study.layout.decisions.mkdir()
    (log,) = study.layout.events.iterdir()
    record = {"version": 1, "kind": "rerun", "discarded": {one.id: [log.name]}}
    (study.layout.decisions / "rerun-1.json").write_text(json.dumps(record))
    assert study.run() == 0
    assert study.outcomes()[0].rung is None


EXITS = STEPS.replace("return", "raise SystemExit")
LATE = STEPS.replace("if context.should_stop()", "if step == 12 and context.should_stop()")


@pytest.mark.parametrize(
    ("code", "rung", "last"),
    [(STEPS, 3, 3), (EXITS, 3, 3), (DEAF, None, 12), (LATE, None, 12)],
    ids=["asks", "exits", "deaf", "late"],
)
def test_a_function_of_the_user_ends_where_it_asks_whether_to_stop(tmp_path, code, rung, last):
    one = _with_rungs(made(_own(tmp_path, code)), 3)
    study = Study(tmp_path, one, code_root=tmp_path)
    _meets(study, one, 3, 0.1, 0.2)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.rung) == ("completed", rung), outcome.traceback
    assert outcome.curve[-1].step == last
    assert bool(outcome.metrics) == (rung is None)


def test_a_command_ends_as_one_that_is_told_to_stop(tmp_path):
    study = commands.Study(tmp_path)
    study.write(
        "train.py",
        "import time, thermolion\n"
        "for step in range(1, 1000):\n"
        "    thermolion.log(step, val_accuracy=0.5)\n"
        "    if thermolion.should_stop():\n"
        "        break\n"
        "    time.sleep(0.01)\n"
        "else:\n"
        "    raise SystemExit('nobody has stopped it')\n",
    )
    plain = commands.made("python train.py")
    workload = dataclasses.replace(plain.workload, steps=1000)
    one = _with_rungs(dataclasses.replace(plain, workload=workload), 20)
    _meets(study, one, 20, 0.9, 0.8)
    last = study.run_trial(one)[-1]
    assert (last.type, last.payload["rung"]) == ("completed", 20)
    assert last.payload["step"] < 1000


@pytest.mark.parametrize("kind", ["images", "own"])
def test_all_ranks_end_at_the_same_rung(tmp_path, kind):
    workload = SMALL if kind == "images" else _own(tmp_path, STEPS, 2)
    rung = 1 if kind == "images" else 3
    one, after = _with_rungs(trial(2, workload), rung), trial(2, SMALL)
    study = Ranks(tmp_path / "s", one, after, code_root=tmp_path)
    best = [1.0, 1.0] if kind == "images" else [0.0, 0.0]
    _meets(study, one, rung, *best)
    assert study.run() == [0, 0]
    ended, whole = study.outcomes()
    assert (ended.state, ended.rung) == ("completed", rung), ended.traceback
    there = ended.curve[-1] if kind == "images" else ended.curve[rung - 1]
    value = there.metrics[workload.metric_spec.metric]
    assert last_curve_value(ended) == value  # however far it has got until all had heard of it
    assert (whole.state, whole.rung) == ("completed", None)


RANKS = """\
import os, sys, time
import torch.distributed as dist
import torch, thermolion
dist.init_process_group("gloo", init_method=f"file://{os.environ['MEET']}",
                        rank=int(os.environ["RANK"]), world_size=2)
for step in range(1, 2000):
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 0:
        thermolion.log(step, val_accuracy=0.5)
    if thermolion.should_stop():
        break
    time.sleep(0.01)
else:
    sys.exit("nobody has stopped it")
dist.destroy_process_group()
time.sleep(1 - int(os.environ["RANK"]))  # rank 0 saves
"""


def test_a_command_on_two_ranks_ends_though_one_hears_of_it_first(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(RANKS)
    monkeypatch.setenv("MEET", str(tmp_path / "meet"))
    reading = MetricSpec("val_accuracy")
    workload = UserWorkload(
        "mine", command="python train.py", steps=2000, declared_metric=reading, ranks=2
    )
    one = _with_rungs(trial(2, workload), 20)
    study = Ranks(tmp_path / "s", one, code_root=tmp_path)
    _meets(study, one, 20, 0.9, 0.8)
    assert study.run() == [0, 0]
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.rung) == ("completed", 20), outcome.error
