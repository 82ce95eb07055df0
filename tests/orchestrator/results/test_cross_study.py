"""Two studies against each other, and runs of MLflow that this tool did not make."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.contract.events import EventLog
from orchestrator.study.study import open_study
from tracking.mlflow_store.store import open_store

ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065]
OURS = [0.912, 0.9085, 0.914, 0.9105, 0.913]

_SWEEP = """\
study: {name}
workloads: [{workloads}]
candidates: {{{candidates}}}
seeds: {seeds}
root_seed: {root}
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., str]:
    """Record a study whose trials have all ended; returns its name."""

    def record(name, candidates, finals, datasets=("digits",), seeds="5", root=0):
        workloads = ", ".join(f"{{dataset: {d}, model: mlp, epochs: 1}}" for d in datasets)
        path = tmp_path / f"{name}.yaml"
        text = _SWEEP.format(
            name=name, workloads=workloads, candidates=candidates, seeds=seeds, root=root
        )
        path.write_text(text)
        study = open_study(str(path), tmp_path / "studies")
        study.record()
        log = EventLog(study.layout.event_log("s1", 0, 0, 0), 0, free_bytes=0)
        log.append("opened", submission="s1", pack=0, lane=0, host="n1", device="cpu", code="c0")
        for trial in study.trials:
            shared = f"{trial.workload.name}-{trial.block}-{trial.seeds['init']}"
            digests = {"data": trial.workload.name, "init": shared, "order": shared}
            log.append(
                "started",
                trial.id,
                config=trial.to_json(),
                token="t",
                steps=10,
                steps_per_epoch=10,
                chance={"test_accuracy": 0.1, "val_accuracy": 0.1},
                digests=digests,
            )
            final = finals[trial.candidate.optimizer][trial.block]
            for step, value in ((0, 0.1), (10, final)):
                log.append(
                    "evaluated",
                    trial.id,
                    step=step,
                    epoch=step / 10,
                    samples=step,
                    train_seconds=1.0,
                    metrics={"val_accuracy": value},
                )
            metrics = {"test_accuracy": final}
            log.append("completed", trial.id, step=10, train_seconds=1.0, metrics=metrics)
        log.close()
        return name

    return record


FINALS = {"thermolion": OURS, "adamw": ADAMW, "lion": [v + 0.001 for v in ADAMW]}


def test_two_studies_are_compared_block_by_block(recorded, thermolion, tmp_path):
    ours = recorded("ours", "thermolion: {}", FINALS)
    theirs = recorded("theirs", "adamw: {}", FINALS)
    said = thermolion("compare", ours, theirs, "--json", "--report", tmp_path / "page")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["questions"] == [{"candidate": "thermolion", "baseline": "adamw"}]
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(0.01105649, abs=1e-6)
    assert found["untuned"]["candidates"] == ["thermolion", "adamw"]
    assert "write both into one sweep" in found["untuned"]["obstacle"]
    assert "ours and theirs" in (tmp_path / "page" / "report.html").read_text()


def test_nothing_is_printed_before_the_page_is_there(recorded, thermolion, tmp_path):
    study = recorded("ours", "thermolion: {}, adamw: {}", FINALS)
    (tmp_path / "taken").touch()
    said = thermolion("compare", study, "--json", "--report", tmp_path / "taken")
    assert (said.code, said.out) == (1, "")


def test_what_only_one_study_has_is_left_out_by_name(recorded, thermolion):
    ours = recorded("ours", "thermolion: {}, adamw: {}", FINALS, ("digits", "mnist"))
    theirs = recorded("theirs", "lion: {}, adamw: {}", FINALS, seeds="3")
    said = thermolion("compare", ours, theirs).out
    assert "thermolion vs lion:" in said
    assert "adamw vs" not in said
    assert "Only ours has digits, block 3; digits, block 4; mnist, block 0;" in said


def test_equal_names_of_unlike_content_stay_apart(recorded, thermolion):
    ours = recorded("ours", "opt: {optimizer: adamw}", FINALS)
    theirs = recorded("theirs", "opt: {optimizer: thermolion}", FINALS)
    assert "opt vs opt (theirs):" in thermolion("compare", ours, theirs).out


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ({"root": 1}, ["root_seed 0 and 1", "run one again"]),
        ({"datasets": ("mnist",)}, ["workloads differ in content (digits against mnist)"]),
        ({"seeds": "[7, 8]"}, ["no block in common"]),
        ({"candidates": "thermolion: {}"}, ["same candidates"]),
    ],
)
def test_what_is_not_paired_is_refused_with_its_reason(recorded, thermolion, theirs, why):
    many = {name: values * 2 for name, values in FINALS.items()}
    recorded("ours", "thermolion: {}", many)
    recorded("theirs", **({"candidates": "adamw: {}", "finals": many} | theirs))
    said = thermolion("compare", "ours", "theirs")
    assert said.code == 2
    assert not said.out
    for words in why:
        assert words in said.err


def test_a_study_is_not_compared_with_itself_nor_three_at_a_time(recorded, thermolion):
    name = recorded("ours", "thermolion: {}", FINALS)
    assert "named twice" in thermolion("compare", name, name).err
    assert "3 studies" in thermolion("compare", name, name, name).err
    assert "0 studies" in thermolion("compare").err


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one experiment and no run: making its tables takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    with open_store(path.parent, f"sqlite:///{path}") as store:
        store.client.create_experiment("nlp")
    return path


@pytest.fixture
def experiment(tmp_path: Path, empty_store: Path) -> Iterator[tuple[str, Callable[..., None]]]:
    """An MLflow store, and how a user's own script logs a run to it."""
    from mlflow.entities import Metric

    uri = f"sqlite:///{tmp_path / 'theirs.db'}"
    shutil.copy(empty_store, tmp_path / "theirs.db")
    with open_store(tmp_path, uri) as store:
        client = store.client
        number = client.get_experiment_by_name("nlp").experiment_id

        def log(optimizer, seed, final, dataset="wiki", status="FINISHED"):
            run = client.create_run(number, run_name=f"{optimizer}-{seed}")
            fields = {"optimizer": optimizer, "seed": seed, "dataset": dataset}
            for name, value in fields.items():
                if value is not None:
                    client.log_param(run.info.run_id, name, value)
            values = [(0, 0.1), (50, 0.5), (100, final)]
            client.log_batch(
                run.info.run_id, [Metric("val_acc", value, 1000, step) for step, value in values]
            )
            client.set_terminated(run.info.run_id, status)

        yield uri, log


def asked(uri, *more):
    return (
        *("compare", "--mlflow", uri, "--experiment", "nlp", "--candidate", "params.optimizer"),
        *("--seed", "params.seed", "--workload", "params.dataset", "--metric", "val_acc", *more),
    )


def test_runs_that_this_tool_did_not_make_get_the_same_answer(experiment, thermolion, tmp_path):
    uri, log = experiment
    for seed, (ours, theirs) in enumerate(zip(OURS, ADAMW, strict=True), 40):
        log("lion", seed, ours)
        log("adamw", seed, theirs)
    page = tmp_path / "page"
    said = thermolion(
        *asked(uri, "--unit", "fraction", "--baseline", "adamw", "--report", page, "--json")
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(0.01105649, abs=1e-6)
    assert found["pooled"][0]["unit"] == "pp"
    assert [one["measure"] for one in found["pooled"]] == [
        "final val_acc",
        "speed (AUC of val_acc)",
    ]
    html = (page / "report.html").read_text()
    assert "paired by params.seed alone" in html
    assert "not known here" in html


def test_incomplete_blocks_and_runs_without_a_field_are_named(experiment, thermolion):
    uri, log = experiment
    for seed in range(3):
        log("lion", seed, 0.9 + seed / 90)
        log("adamw", seed, 0.9 + seed / 100, status="FAILED" if seed == 1 else "FINISHED")
    log("adamw", 1, 0.93)  # tried again: the failed run gives way
    log("sgd", 2, math.nan)
    log("adamw", None, 0.9)
    said = thermolion(*asked(uri))
    assert said.code == 0, said.err
    assert "every pair of candidates is asked about" in said.out
    assert "lion vs sgd:" in said.out
    assert "1 run (adamw-None) without params.seed: left out." in said.out
    assert "wiki, blocks 0-1: sgd no such trial" in said.out
    assert "adamw failed" not in said.out


@pytest.mark.parametrize(
    ("more", "code", "why"),
    [
        (("--experiment", "vision"), 1, "no experiment 'vision'"),
        (("--candidate", "params.opt"), 2, "its runs have"),
        (("--candidate", "optimizer"), 2, "params.NAME"),
        (("--baseline", "sgd"), 2, "there are adamw, lion"),
        (("--filter", "params.optimizer = 'lion'"), 2, "only one candidate, lion"),
        (("--filter", "nonsense"), 1, "cannot read MLflow"),
    ],
)
def test_wrong_fields_are_named_with_the_choices(experiment, thermolion, more, code, why):
    uri, log = experiment
    for name in ("lion", "adamw"):
        log(name, 0, 0.9)
    said = thermolion(*asked(uri, *more))
    assert (said.code, said.out) == (code, "")
    assert why in said.err


def test_an_experiment_needs_its_fields(thermolion, tmp_path):
    said = thermolion("compare", "--mlflow", f"sqlite:///{tmp_path / 'x.db'}", "--experiment", "a")
    assert said.code == 2
    assert "--candidate, --seed, --metric to be named as well" in said.err


def test_runs_are_numbered_by_their_seeds_or_in_their_order(experiment, thermolion):
    uri, log = experiment
    for seed, value in zip(("b", "a", "c"), np.linspace(0.9, 0.95, 3), strict=True):
        log("lion", seed, value + 0.01)
        log("adamw", seed, value * 0.99)
    found = json.loads(thermolion(*asked(uri, "--json")).out)
    assert [pair[0] for pair in found["by_workload"][0]["paired"]] == [0, 1, 2]
