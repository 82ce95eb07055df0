"""Folders with odd characters in their names: trials run, are stored, reported and exported."""

from pathlib import Path

from odd_folders import COMMAND_RESULTS, ODD_ANYWHERE, finals, odd_project

from tracking.mlflow_store.store import open_store


def test_a_study_in_an_odd_folder_runs_and_is_stored_reported_and_exported(
    thermolion, tmp_path, monkeypatch
):
    sweep, root = odd_project(tmp_path / ODD_ANYWHERE / "code"), tmp_path / ODD_ANYWHERE / "?#%20"
    monkeypatch.chdir(sweep.parent)
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")  # has no ☃
    said = thermolion("run", sweep.name, "--root", root)
    assert said.code == 0, said.err
    assert finals(thermolion("status", "odd", "--root", root, "--json").out) == COMMAND_RESULTS
    assert "é☃ is printed" in thermolion("logs", "odd", "--root", root).out
    assert (root / "odd" / "report" / "report.html").is_file()
    with open_store(root) as store:
        (experiment,) = store.client.search_experiments(filter_string="name = 'odd'")
        parents = store.client.search_runs(
            [experiment.experiment_id], filter_string="tags.`thermolion.parent_of` = 'odd'"
        )
        kept = store.client.download_artifacts(parents[0].info.run_id, "report.html")
    assert "val" in Path(kept).read_text(encoding="utf-8")
    assert not [one for one in tmp_path.iterdir() if one.name != ODD_ANYWHERE]
    for form in ("csv", "parquet", "tensorboard"):
        done = thermolion("export", "odd", "--root", root, "--format", form)
        assert done.code == 0, done.err
        assert list((root / "odd" / "export" / form).rglob("*"))


def test_an_address_with_options_after_its_path_is_refused_before_anything_runs(
    thermolion, small, layout
):
    said = thermolion("run", small, "--mlflow", f"sqlite:///{layout.root}/a?b/mlflow.db")
    assert said.code == 2
    assert "write %3F for it" in said.err
    assert not layout.folder.exists()
