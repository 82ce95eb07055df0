"""`sweeps/world_size.yaml`: every gate mode, at every number of ranks, in both batch regimes."""

import json
from collections import Counter
from pathlib import Path

import yaml
from processes import pids, wait_for

from jobs.contract.layout import Layout
from tracking.outcomes import read_outcomes

SWEEP = Path(__file__).parents[3] / "sweeps" / "world_size.yaml"
REFERENCE_BATCH = 32
GATES = {"averaged", "replicas", "local", None}  # None: the baseline, which has none


def _gate(candidate):
    if candidate["optimizer"] != "thermolion":
        return None
    return candidate["hyperparameters"].get("gate", "averaged")


def test_the_plan_crosses_gate_modes_world_sizes_and_batch_regimes(thermolion):
    trials = json.loads(thermolion("plan", SWEEP, "--json").out)["trials"]
    local = {(ranks, 16 * ranks) for ranks in (2, 4, 8)}
    whole = {(ranks, 96) for ranks in (2, 4, 8)}
    cells = Counter(
        (trial["world_size"], trial["workload"]["global_batch"], _gate(trial["candidate"]))
        for trial in trials
    )
    assert cells == {(*batch, gate): 3 for batch in local | whole for gate in GATES}
    references = {
        trial["candidate"]["hyperparameters"].get("reference_batch")
        for trial in trials
        if _gate(trial["candidate"]) == "replicas"
    }
    assert references == {REFERENCE_BATCH}


def test_it_runs_by_gloo_and_the_gate_mode_is_what_differs(thermolion, tmp_path):
    declared = yaml.safe_load(SWEEP.read_text())["workloads"]
    few = [workload for workload in declared if workload["ranks"] == 2]
    sets = {"workloads": json.dumps(few), "seeds": 1, "defaults.epochs": 1}
    words = [word for key, text in sets.items() for word in ("--set", f"{key}={text}")]
    said = thermolion("submit", SWEEP, *words)
    assert said.code == 0, said.err
    study = Layout(tmp_path / "studies", "world-size")
    wait_for(lambda: bool(pids(study)))
    wait_for(lambda: not pids(study, "backends.pool"), 300)
    outcomes = read_outcomes(study.events).values()
    assert len(outcomes) == 2 * len(GATES)
    assert {outcome.state for outcome in outcomes} == {"completed"}
    for workload in few:
        ends = {
            o.trial.candidate.name: o.weights
            for o in outcomes
            if o.trial.workload.name == workload["name"]
        }
        assert len(set(ends.values())) == len(GATES), ends
