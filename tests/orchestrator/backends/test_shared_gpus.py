"""Several trials at a time on each GPU of this machine: `pack.trials_per_gpu`."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_text import sweep_text

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from orchestrator.backends import local, pool
from orchestrator.backends.records import Submission, write_packs

_TRIALS = 12


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of two GPUs and ten cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: {*range(10)})
    pool._gpus.cache_clear()
    yield
    pool._gpus.cache_clear()


def _sweep(**lines):
    return sweep_text(
        "candidates: {adamw: {}, lion: {}}",
        seeds=f"seeds: {_TRIALS // 2}",
        **{"resources": "resources: {gpus_per_node: 1}"} | lines,
    )


@pytest.mark.parametrize(
    ("lines", "at_a_time"),
    [
        ({}, 2),
        ({"pack": "pack: {trials_per_gpu: 3}"}, 6),
        ({"pack": "pack: {trials_per_gpu: 8}"}, 10),  # as many as there are cores
        (
            {
                "pack": "pack: {trials_per_gpu: 3}",
                "resources": "resources: {gpus_per_node: 1, cpus_per_task: 4}",
            },
            2,
        ),
        ({"pack": "pack: {trials_per_gpu: 3}", "limits": "limits: {concurrent: 4}"}, 4),
    ],
)
def test_so_many_trials_run_at_a_time_as_gpus_and_cores_allow(lines, at_a_time, planned):
    found = planned(_sweep(**lines))
    assert found["lanes"] == at_a_time
    assert len(found["packs"]) >= at_a_time
    assert not [note for note in found["notes"] if "pack" in note]


def test_gpu_hours_are_shared_by_the_trials_on_a_gpu(planned):
    alone, shared = (
        planned(_sweep(**lines))["price"]["in_all"]
        for lines in ({}, {"pack": "pack: {trials_per_gpu: 3}"})
    )
    assert shared["seconds"] < alone["seconds"]
    assert shared["hours"] == pytest.approx(alone["hours"] / 3, rel=0.6)
    assert shared["hours"] < alone["hours"] / 1.5


def test_what_has_no_effect_here_is_said(planned):
    more = planned(_sweep(pack="pack: {trials_per_gpu: 3, at_least: 1h}"))
    assert any("pack.at_least or pack.trial_takes" in note for note in more["notes"])
    on_cores = planned(
        _sweep(pack="pack: {trials_per_gpu: 3}", resources="resources: {cpus_per_task: 1}")
    )
    assert any("pack" in note for note in on_cores["notes"])


def test_trials_of_several_ranks_share_no_gpu(thermolion, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        _sweep(
            pack="pack: {trials_per_gpu: 2}",
            workloads="workloads: [{dataset: digits, model: mlp, epochs: 1, ranks: 2}]",
        )
    )
    said = thermolion("submit", path)
    assert said.code == 2
    assert "pack.trials_per_gpu is 2, and a trial spans 2 processes" in said.err
    assert "lower `ranks`" in said.err


def test_the_trials_at_a_time_are_spread_over_the_gpus(tmp_path, monkeypatch):
    layout = Layout(tmp_path, "study")
    layout.submission("0001").mkdir(parents=True)
    write_packs([Pack(layout, "0001", number, ()) for number in range(4)])
    submission = Submission("0001", "local", 4, 4, 1, "cuda", "me", "here", 0)
    (layout.submission("0001") / "pool.json").write_text("{}")
    lane = tmp_path / "lane"
    lane.write_text(
        f"#!/bin/sh\necho $CUDA_VISIBLE_DEVICES; touch {tmp_path}/$$.began\n"
        f"while [ $(ls {tmp_path}/*.began | wc -l) -lt 4 ]; do sleep 0.02; done\n"
    )
    lane.chmod(0o755)
    monkeypatch.setattr(pool, "sys", SimpleNamespace(executable=str(lane), platform="none"))
    before, begin = signal.getsignal(signal.SIGTERM), time.monotonic()
    try:
        pool.Pool(layout, submission).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - begin < 60
    seen = [Path(layout.job_output("0001", number)).read_text().strip() for number in range(4)]
    assert seen == ["2", "5", "2", "5"]
