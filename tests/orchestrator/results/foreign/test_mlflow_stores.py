"""What only a store knows of its runs: the trash, parent runs, how it spells infinity."""

import json
import math
import os
import sqlite3

import pytest

from tracking.foreign import mlflow_sql

LION = [0.912, 0.9085, 0.914, 0.9105, 0.913]
ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065]
P = 0.01105649  # of scipy.stats.ttest_rel(LION, ADAMW)


def by_the_tables(monkeypatch):
    monkeypatch.setattr("tracking.foreign.mlflow_runs.open_store", None)


def by_the_client(monkeypatch):
    monkeypatch.setattr(mlflow_sql, "_KNOWN_SCHEMAS", frozenset())


def way_of_filter(monkeypatch, way):
    """Choose a way where there is a filter, which is always asked of the client."""
    if way is by_the_client:
        by_the_client(monkeypatch)


both_ways = pytest.mark.parametrize("way", [by_the_tables, by_the_client])


def log_pairs(store, parent_of=None):
    for seed, finals in enumerate(zip(LION, ADAMW, strict=True)):
        for optimizer, final in zip(("lion", "adamw"), finals, strict=True):
            if parent_of is None:
                store.log({"optimizer": optimizer, "seed": seed}, [0.1, 0.5, final])
            else:
                store.log({"seed": seed}, [0.1, 0.5, final], parent=parent_of[optimizer])


@both_ways
def test_tables_and_client_give_the_same_answer(store, thermolion, monkeypatch, way):
    log_pairs(store)
    way(monkeypatch)
    said = thermolion(*store.ask("--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)


@both_ways
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_is_a_divergence(store, thermolion, monkeypatch, way, value):
    for seed in range(3):
        store.log({"optimizer": "lion", "seed": seed}, [0.1, value if seed == 1 else 0.9])
        store.log({"optimizer": "adamw", "seed": seed}, [0.1, 0.8 + seed / 50])
    way(monkeypatch)
    said = thermolion(*store.ask("--chance", "0.1", "--baseline", "adamw", "--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    (pooled, *_) = found["pooled"]
    assert pooled["estimate"]["mean"] == pytest.approx((0.1 - 0.82 + 0.9 - 0.8 + 0.9 - 0.84) / 3)


@both_ways
def test_a_deleted_experiment_is_said_to_lie_in_the_trash(store, thermolion, monkeypatch, way):
    log_pairs(store)
    store.client.delete_experiment(store.experiment)
    way(monkeypatch)
    said = thermolion(*store.ask())
    assert (said.code, said.out) == (1, "")
    assert "was deleted and lies in MLflow's trash" in said.err
    assert f"mlflow experiments restore --experiment-id {store.experiment}" in said.err


@both_ways
def test_deleted_runs_take_no_part_and_are_counted(store, thermolion, monkeypatch, way):
    log_pairs(store)
    runs = [store.log({"optimizer": "sgd", "seed": seed}, [0.1, 0.2]) for seed in range(2)]
    for run in runs:
        store.client.delete_run(run)
    way(monkeypatch)
    said = thermolion(*store.ask())
    assert "2 runs of the experiment lie in MLflow's trash and take no part" in said.out
    assert "sgd" not in said.out


def test_an_experiment_whose_runs_are_all_deleted_says_so(store, thermolion):
    store.client.delete_run(store.log({"optimizer": "sgd", "seed": 0}, [0.1]))
    said = thermolion(*store.ask())
    assert "all 1 runs of 'nlp'" in said.err
    assert "mlflow runs restore --run-id" in said.err


@both_ways
def test_a_mistyped_metric_is_named_with_the_choices(store, thermolion, monkeypatch, way):
    store.log({"optimizer": "lion", "seed": 0}, [0.9], val_loss=0.3)
    store.log({"optimizer": "adamw", "seed": 0}, [0.9], test_f1=0.3)
    way(monkeypatch)
    said = thermolion(*store.ask(metric="val_ac"))
    assert (said.code, said.out) == (2, "")
    assert (
        "no run of the MLflow experiment 'nlp' has logged the metric 'val_ac', did you mean "
        "'val_acc': there are test_f1, val_acc, val_loss"
    ) in said.err
    said = thermolion(*store.ask("--final-metric", "test_acc"))
    assert (said.code, said.out) == (2, "")
    assert "the metric 'test_acc'" in said.err


def test_a_mistyped_experiment_is_named_with_the_choices(store, thermolion):
    said = thermolion(*store.ask("--experiment", "npl"))
    assert "no experiment 'npl'" in said.err
    assert "did you mean 'nlp': there are Default, nlp" in said.err


@both_ways
def test_a_child_has_the_optimizer_of_its_parent_run(store, thermolion, monkeypatch, way):
    parents = {name: store.log({"optimizer": name, "lr": 0.1}) for name in ("lion", "adamw")}
    log_pairs(store, parents)
    way(monkeypatch)
    said = thermolion(*store.ask("--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)
    notes = " ".join(found["notes"])
    assert "params.optimizer is that of the parent run for 10 of 10 runs." in notes
    assert "2 parent runs have no val_acc: the child runs are compared." in notes
    assert "left out" not in notes


@pytest.mark.parametrize("schemas", [mlflow_sql._KNOWN_SCHEMAS, frozenset()])
def test_a_filter_leaves_out_no_parent_that_its_children_need(
    store, thermolion, monkeypatch, schemas
):
    search = store.log({})
    parents = {
        name: store.log({"optimizer": name}, parent=search) for name in ("lion", "adamw", "sgd")
    }
    log_pairs(store, parents)
    store.log({"seed": 9}, [0.1], parent=parents["sgd"])
    monkeypatch.setattr(mlflow_sql, "_KNOWN_SCHEMAS", schemas)
    said = thermolion(*store.ask("--filter", "params.seed != '9'", "--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)


def test_a_parent_that_is_a_run_of_its_own_lends_nothing(store, thermolion):
    log_pairs(store)
    whole = store.log({"optimizer": "sgd", "seed": 0}, [0.1, 0.2])
    store.log({"fold": 1}, [0.1, 0.3], parent=whole)
    said = thermolion(*store.ask())
    assert said.code == 0, said.err
    assert "without params.optimizer" in said.out
    assert "parent run" not in said.out


@both_ways
def test_a_parent_in_the_trash_or_of_another_experiment_lends_too(
    store, thermolion, monkeypatch, way
):
    parents = {"lion": store.log({"optimizer": "lion"})}
    store.experiment, ours = store.client.create_experiment("searches"), store.experiment
    parents["adamw"] = store.log({"optimizer": "adamw"})
    store.experiment = ours
    log_pairs(store, parents)
    store.client.delete_run(parents["lion"])
    way(monkeypatch)
    said = thermolion(*store.ask("--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)
    notes = " ".join(found["notes"])
    assert "params.optimizer is that of the parent run for 10 of 10 runs." in notes


@both_ways
def test_a_long_text_names_a_candidate_if_it_is_asked_for(store, thermolion, monkeypatch, way):
    for seed, finals in enumerate(zip(LION, ADAMW, strict=True)):
        for name, final in zip("ab", finals, strict=True):
            noise = {"command": f"{seed}" * 501}  # is no setting that varies
            store.log({"optimizer": name * 501, "seed": seed} | noise, [0.1, final])
    way(monkeypatch)
    said = thermolion(*store.ask("--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)
    assert "varies" not in " ".join(found["notes"])


@both_ways
def test_a_filter_that_leaves_nothing_says_of_how_many(store, thermolion, monkeypatch, way):
    log_pairs(store)
    store.client.delete_run(store.log({"optimizer": "sgd", "seed": 0}, [0.1]))
    way_of_filter(monkeypatch, way)
    said = thermolion(*store.ask("--filter", "params.seed = '77'"))
    assert (said.code, said.out) == (1, "")
    assert "leaves none of the 10 runs of 'nlp'" in said.err


@both_ways
def test_a_metric_that_the_filter_leaves_out_is_not_suggested(store, thermolion, monkeypatch, way):
    log_pairs(store)
    store.log({"optimizer": "sgd", "seed": 0}, [], val_loss=0.3)
    way_of_filter(monkeypatch, way)
    said = thermolion(
        *store.ask("--filter", "params.optimizer != 'sgd'", "--goal", "min", metric="val_loss"),
    )
    assert (said.code, said.out) == (2, "")
    assert "leaves, has logged the metric 'val_loss': there are val_acc\n" in said.err


@both_ways
def test_a_store_of_others_and_the_environment_stay_as_they_are(
    store, thermolion, monkeypatch, way, tmp_path
):
    log_pairs(store)
    store.client._tracking_client.store.engine.dispose()
    ours = tmp_path / "copy.db"
    with sqlite3.connect(tmp_path / "theirs.db") as connection:
        connection.execute(f"VACUUM INTO '{ours}'")  # with the journal that MLflow begins with
    # A training that this process starts would fail by it at its first lost request.
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    store.uri, before = f"sqlite:///{ours}", (ours.read_bytes(), dict(os.environ))
    way_of_filter(monkeypatch, way)
    said = thermolion(*store.ask("--filter", "params.optimizer LIKE '%'"))
    assert said.code == 0, said.err
    assert (ours.read_bytes(), dict(os.environ)) == before


def test_nothing_is_made_when_a_store_is_not_there(thermolion, store, tmp_path):
    asked = [str(one).replace("theirs.db", "typo.db") for one in store.ask()]
    said = thermolion(*asked)
    assert said.code == 1
    assert "typo.db: there is no such file" in said.err
    assert not (tmp_path / "typo.db").exists()


def test_the_password_of_a_server_is_in_no_message(store, thermolion):
    store.uri = "http://me:s3cret@127.0.0.1:9"  # where nothing listens
    said = thermolion(*store.ask())
    assert (said.code, said.out) == (1, "")
    assert "cannot read MLflow at http://me:***@127.0.0.1:9: API request to http://" in said.err
    assert "s3cret" not in said.err


@pytest.mark.parametrize(
    "address", ["typo.db", "runs", "empty", "file:runs", "file:empty", "C:\\runs"]
)
def test_no_store_is_made_of_a_path_that_is_none(thermolion, tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    fields = ("--candidate", "params.optimizer", "--seed", "params.seed", "--metric", "acc")
    said = thermolion("compare", "--mlflow", address, "--experiment", "nlp", *fields)
    assert (said.code, said.out) == (1, "")
    assert f"no MLflow store at {address}: the" in said.err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_store_may_be_named_by_its_path(store, thermolion, tmp_path, monkeypatch):
    log_pairs(store)
    monkeypatch.chdir(tmp_path)
    store.uri = "theirs.db"
    assert "lion vs adamw" in thermolion(*store.ask("--baseline", "adamw")).out


def test_a_file_that_is_no_store_is_left_as_it_was(thermolion, store, tmp_path):
    other = tmp_path / "theirs.db"
    other.unlink()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    before = other.read_bytes()
    said = thermolion(*store.ask())
    assert "is no MLflow store: its tables are orders" in said.err
    assert other.read_bytes() == before
    other.write_text("seed,val_acc\n0,0.9\n" * 500)
    assert "is no MLflow store: file is not a database" in thermolion(*store.ask()).err


def test_a_store_that_may_only_be_read_is_read(thermolion, store, monkeypatch):
    log_pairs(store)
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connect = sqlite3.connect

    def refuse(address, **named):  # as for who may not make the files beside a store
        if "immutable" not in address:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, **named)

    monkeypatch.setattr(mlflow_sql.sqlite3, "connect", refuse)
    said = thermolion(*store.ask())
    assert said.code == 0, said.err
    store.log({"optimizer": "lion", "seed": 9}, [0.1])  # somebody is writing
    said = thermolion(*store.ask())
    assert said.code == 1
    assert "cannot read the MLflow store" in said.err


def test_one_run_that_a_server_cannot_give_refuses_nothing_else(thermolion, store, monkeypatch):
    from mlflow import MlflowClient

    log_pairs(store)
    bad = store.log({"optimizer": "sgd", "seed": 0}, [0.1])
    by_the_client(monkeypatch)
    give = MlflowClient.get_metric_history

    def refuse(client, run, key):
        if run == bad:
            raise OSError("500 Internal Server Error")
        return give(client, run, key)

    monkeypatch.setattr(MlflowClient, "get_metric_history", refuse)
    said = thermolion(*store.ask())
    assert said.code == 0, said.err
    assert f"Run {bad} cannot be read, and is left out: 500 Internal Server Error" in said.out
    bad = None
    monkeypatch.setattr(MlflowClient, "get_metric_history", lambda *_: refuse(None, None, None))
    said = thermolion(*store.ask())
    assert (said.code, said.out) == (1, "")
    assert "500 Internal Server Error" in said.err


def test_a_folder_of_files_is_a_store_too(thermolion, store, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store.uri = (tmp_path / "mlruns").as_uri()
    store.client = MlflowClient(store.uri)
    store.experiment = store.client.create_experiment("nlp")
    log_pairs(store)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    said = thermolion(*store.ask("--json"))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-6)
    bad = store.log({"optimizer": "lion", "seed": 5}, [0.1, 0.2])
    (tmp_path / "mlruns" / store.experiment / bad / "metrics" / "val_acc").write_text("torn\n")
    said = thermolion(*store.ask())
    assert said.code == 0, said.err
    assert f"Run {bad} cannot be read, and is left out: Metric 'val_acc' is malformed" in said.out
    assert "5 seeds" in said.out
    # It was allowed for reading alone: nothing else of this process may write into a folder.
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
