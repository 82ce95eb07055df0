"""Runs in CSV and Parquet files, a row a run or a row a point."""

import json
import math

import pandas as pd
import pytest

LION = [0.912, 0.9085, 0.914, 0.9105, 0.913]
ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065]
P = 0.01105649  # of scipy.stats.ttest_rel(LION, ADAMW)
POINTS = [0.1, 0.5]  # before the last one


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The folder in which the user is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of_runs():
    return [
        {"optimizer": optimizer, "seed": seed, "val_acc": value}
        for seed, values in enumerate(zip(LION, ADAMW, strict=True))
        for optimizer, value in zip(("lion", "adamw"), values, strict=True)
    ]


def rows_of_points():
    return [
        run | {"epoch": epoch, "val_acc": value}
        for run in rows_of_runs()
        for epoch, value in enumerate([*POINTS, run["val_acc"]])
    ]


def asked(*more, source=("runs.csv",)):
    return (
        *("compare", "--csv", *source, "--candidate", "optimizer", "--seed", "seed"),
        *("--metric", "val_acc", "--baseline", "adamw", *more),
    )


def answer(thermolion, *more, source=("runs.csv",)):
    said = thermolion(*asked(*more, "--json", source=source))
    assert said.code == 0, said.err
    return json.loads(said.out)


def finals(found):
    return found["pooled"][0]["estimate"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_row_a_run_gives_the_known_answer(thermolion, separator):
    pd.DataFrame(rows_of_runs()).to_csv("runs.csv", sep=separator, index=False)
    found = answer(thermolion)
    assert finals(found)["p"] == pytest.approx(P, abs=1e-6)
    # Without curves there is one endpoint, so nothing to adjust for.
    assert found["pooled"][0]["p_adjusted"] == pytest.approx(P, abs=1e-6)
    assert found["questions"] == [{"candidate": "lion", "baseline": "adamw"}]


def test_a_page_that_is_exploratory_whole_speaks_of_no_marks(thermolion):
    pd.DataFrame(rows_of_runs()).to_csv("runs.csv", index=False)
    said = thermolion(*asked())
    assert said.code == 0, said.err
    assert said.out.startswith("Exploratory: ")
    assert "marked exploratory" not in said.out


def test_a_row_a_point_gives_the_curve_as_well(thermolion):
    shuffled = pd.DataFrame(rows_of_points()).sample(frac=1, random_state=0)
    shuffled.to_csv("runs.csv", index=False)
    found = answer(thermolion, "--step", "epoch")
    assert finals(found)["p"] == pytest.approx(P, abs=1e-6)
    area = found["pooled"][1]
    assert area["measure"] == "speed (AUC of val_acc)"
    assert area["estimate"]["mean"] == pytest.approx(0.004 / 4)  # half of the last of two steps


def test_parquet_is_read_like_csv(thermolion):
    frame = pd.DataFrame(rows_of_points())
    frame["seed"] = frame["seed"].astype(float)  # as pandas does if one is missing
    frame.to_parquet("runs.parquet")
    found = answer(thermolion, "--step", "epoch", source=("runs.parquet",))
    assert finals(found)["p"] == pytest.approx(P, abs=1e-6)
    assert [pair[0] for pair in found["by_workload"][0]["paired"]] == [0, 1, 2, 3, 4]


def test_a_file_a_run_is_told_apart_by_its_path(here, thermolion):
    for run in rows_of_runs():
        folder = here / "out" / f"{run['optimizer']}_s{run['seed']}"
        folder.mkdir(parents=True)
        rows = [
            {"step": step, "train_loss": 1.0, "val_acc": value}
            for step, value in enumerate([*POINTS, run["val_acc"]])
        ]
        # Lightning's CSVLogger: training and validation have rows of their own.
        rows.insert(1, {"step": 0, "train_loss": 2.0, "val_acc": None})
        pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)
    files = sorted(here.glob("out/*/metrics.csv"))
    path = ("--path", "{optimizer}_s{seed}/metrics.csv")
    found = answer(thermolion, "--step", "step", *path, source=files)
    assert finals(found)["p"] == pytest.approx(P, abs=1e-6)


def test_the_hparams_of_lightning_stand_beside_its_file(here, thermolion):
    for number, run in enumerate(rows_of_runs()):
        folder = here / "lightning_logs" / f"version_{number}"
        folder.mkdir(parents=True)
        (folder / "hparams.yaml").write_text(
            f"opt: {{name: {run['optimizer']}}}\nseed: {run['seed']}\n"
            "act: !!python/object:torch.nn.modules.activation.ReLU {}\n"
        )
        (folder / "metrics.csv").write_text(f"step,val_acc\n0,0.1\n9,{run['val_acc']}\n")
    files = sorted(here.glob("lightning_logs/*/metrics.csv"))
    fields = ("--candidate", "params.opt/name", "--seed", "params.seed", "--step", "step")
    found = answer(thermolion, *fields, source=files)
    assert finals(found)["p"] == pytest.approx(P, abs=1e-6)


def test_failed_runs_and_a_filter_leave_out_what_they_name(thermolion):
    frame = pd.DataFrame(rows_of_runs())
    frame["State"] = ["crashed" if n == 0 else "finished" for n in range(len(frame))]
    more = frame.assign(optimizer="sgd")
    pd.concat([frame, more]).to_csv("runs.csv", index=False)
    said = thermolion(*asked("--filter", "optimizer != 'sgd' and seed != 4"))
    assert said.code == 0, said.err
    assert "runs, block 0: lion failed" in said.out
    assert "sgd" not in said.out
    assert "3 seeds" in said.out


def test_nan_and_infinity_diverge_and_an_empty_cell_is_no_value(here, thermolion):
    frame = pd.DataFrame(rows_of_runs())
    text = frame.to_csv(index=False).replace("lion,0,0.912", "lion,0,inf")
    (here / "runs.csv").write_text(text.replace("lion,1,0.9085", "lion,1,"))
    found = answer(thermolion, "--chance", "0.1")
    differences = [0.1 - 0.907, *(a - b for a, b in zip(LION[2:], ADAMW[2:], strict=True))]
    assert finals(found)["mean"] == pytest.approx(math.fsum(differences) / 4)


@pytest.mark.parametrize("word", ["FAIL", "PRUNED", "CANCELED", "out of memory"])
def test_a_state_of_any_tool_that_is_no_end_is_a_failure(thermolion, word):
    states = ["COMPLETE", "COMPLETE", word, *["COMPLETE"] * 7]
    pd.DataFrame(rows_of_runs()).assign(state=states).to_csv("runs.csv", index=False)
    said = thermolion(*asked())
    assert said.code == 0, said.err
    assert "runs, block 1: lion failed" in said.out
    assert "varies" not in said.out


def test_a_state_that_is_not_understood_is_named(thermolion):
    pd.DataFrame(rows_of_runs()).assign(state=["CA", "fin"] * 5).to_csv("runs.csv", index=False)
    said = thermolion(*asked())
    assert said.code == 0, said.err
    assert "state (CA, fin) does not say of 10 runs how it has ended" in said.out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("epoch,loss\n0,1.0\n", "lion_s4/metrics.csv has no column 'val_acc'"),
        ("", "lion_s4/metrics.csv has no rows: its run has no value."),
        ("epoch,val_acc\n", "lion_s4/metrics.csv has no rows: its run has no value."),
        ("epoch,val_acc\n0", "lion_s4/metrics.csv:2 is the last line and breaks off: left out."),
    ],
)
def test_one_file_of_a_run_that_died_early_refuses_no_other(here, thermolion, text, why):
    for run in rows_of_runs():
        folder = here / f"{run['optimizer']}_s{run['seed']}"
        folder.mkdir()
        (folder / "metrics.csv").write_text(f"epoch,val_acc\n0,0.1\n1,{run['val_acc']}\n")
    (here / "lion_s4" / "metrics.csv").write_text(text)
    files = [path.relative_to(here) for path in sorted(here.glob("*/metrics.csv"))]
    more = ("--step", "epoch", "--path", "{optimizer}_s{seed}/metrics.csv")
    said = thermolion(*asked(*more, source=files))
    assert said.code == 0, said.err
    assert why in said.out
    assert "so lion is called neither better nor equivalent" in said.out
    assert "4 seeds" in said.out


def test_a_run_that_logged_nothing_gives_way_to_its_second_try(here, thermolion):
    text = pd.DataFrame(rows_of_runs()).to_csv(index=False)
    (here / "runs.csv").write_text(f"{text}lion,3,\n")
    said = thermolion(*asked("--json"))
    assert said.code == 0, said.err
    assert finals(json.loads(said.out))["p"] == pytest.approx(P, abs=1e-6)


@pytest.mark.parametrize("text", ["\"Run kind\" != 'a and b'", "`Run kind` = x and seed != 'and'"])
def test_a_filter_takes_fields_and_values_with_blanks(thermolion, text):
    frame = pd.DataFrame(rows_of_runs()).assign(**{"Run kind": "x"})
    pd.concat([frame, frame.assign(**{"Run kind": "a and b"})]).to_csv("runs.csv", index=False)
    assert finals(answer(thermolion, "--filter", text))["p"] == pytest.approx(P, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        (
            "optimizer,seed,val_ac\n",
            (),
            "runs.csv:1 has no column 'val_acc', did you mean 'val_ac'",
        ),
        ("optimiser,seed,val_acc\n", (), "did you mean 'optimiser': there are optimiser, seed"),
        ("optimizer,seed,val_acc\n", (), "runs.csv has no rows"),
        ("", (), "runs.csv is empty"),
        ("optimizer,seed,val_acc,seed\n", (), "runs.csv:1 names the column 'seed' twice"),
        (
            'optimizer,seed,val_acc\n"li\non",0,0.9\nadamw,0,"0,9"\n',
            (),
            "runs.csv:4: val_acc is '0,9', which is no number",
        ),
        (
            "optimizer,seed,val_acc\nlion,0,0.9\n\nlion,1\n",
            (),
            "runs.csv:4 has 2 cells, the first line names 3 columns",
        ),
        (
            "optimizer,seed,epoch,val_acc\nlion,0,1,0.8\nlion,0,2,0.9\n",
            (),
            "runs.csv:2 and runs.csv:3 are both of optimizer lion, seed 0: if a row is a point",
        ),
        (
            "optimizer,seed,epoch,val_acc\nlion,0,1,0.8\nlion,0,1,0.9\n",
            ("--step", "epoch"),
            "runs.csv:3 is a second val_acc of optimizer lion, seed 0 at epoch 1: name the column",
        ),
        (
            "optimizer,seed,epoch,val_acc\nlion,0,one,0.8\n",
            ("--step", "epoch"),
            "runs.csv:2: epoch is 'one', which is no whole number",
        ),
        (
            "optimizer,seed,epoch,val_acc\nlion,0,1,0.8\nlion,1,2,0.8\n",
            ("--step", "epoch", "--run", "optimizer"),
            "runs.csv:3: seed of run lion is '1', which is '0' at runs.csv:2",
        ),
        ("optimizer,seed,val_acc\nlion,0,\n", (), "no run of runs.csv has logged the metric"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--filter", "seed"), "'seed' is no condition"),
        (
            "optimizer,seed,val_acc\nlion,0,1\n",
            ("--filter", "sed = 1"),
            "no run of runs.csv has 'sed', did you mean 'seed'",
        ),
        (
            "optimizer,seed,val_acc\nlion,0,1\n",
            ("--filter", "optimizer != 'lion"),
            '"optimizer != \'lion" is no condition',
        ),
        ("\n\noptimizer,seed,val_acc\n", (), "runs.csv:1 is an empty line"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--filter", "seed = 1"), "leaves none of the 1"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--path", "out"), "nothing in braces"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--path", "{a}/{b}"), "is that of no run"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--mlflow", "x"), "name one of them"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--experiment", "x"), "an option of --mlflow"),
        ("optimizer,seed,val_acc\nlion,0,1\n", ("--set", "baseline=lion"), "--set baseline=lion"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_by_file_and_line(here, thermolion, text, more, why):
    (here / "runs.csv").write_text(text)
    said = thermolion(*asked(*more))
    assert (said.code, said.out) == (2, "")
    assert why in said.err
    assert said.err.count("\n") == 1


def test_what_is_no_table_is_refused(here, thermolion):
    (here / "runs.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert "not text in UTF-8" in thermolion(*asked()).err
    rows = "".join(f"lion,{seed},0.9\n" for seed in range(9999))
    (here / "runs.csv").write_bytes(b"optimizer,seed,val_acc\n" + rows.encode() + b"caf\xe9,0,1\n")
    assert "not text in UTF-8" in thermolion(*asked()).err
    pd.DataFrame(rows_of_runs()).to_parquet("runs.parquet")
    content = (here / "runs.parquet").read_bytes()
    (here / "runs.parquet").write_bytes(content[:20] + bytes(60) + content[80:])
    said = thermolion(*asked(source=("runs.parquet",)))
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "runs.parquet is damaged after row 0: " in said.err
    (here / "runs.parquet").write_bytes(b"PAR?")
    assert "runs.parquet is no Parquet file" in thermolion(*asked(source=("runs.parquet",))).err
    assert "no.csv: there is no such file" in thermolion(*asked(source=("no.csv",))).err
    assert "is a folder" in thermolion(*asked(source=(here,))).err


def test_a_target_of_runs_without_curves_says_what_they_lack(thermolion):
    pd.DataFrame(rows_of_runs()).to_csv("runs.csv", index=False)
    said = thermolion(*asked("--target", "0.9"))
    assert said.code == 0, said.err
    assert (
        "to the target (secondary): no block has the learning curves of both trials." in said.out
    )
