"""Planning through the command line: which trials a sweep means, and what they are called."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sweep_text import sweep_text as _sweep

from jobs.contract.trial import Trial
from orchestrator.study.packs import make_packs

SWEEPS = Path(__file__).parents[3] / "sweeps"


def _names(plan: dict, label: str) -> set[str]:
    return {trial["labels"][label] for trial in plan["trials"]}


def test_planning_twice_names_the_same_trials(planned):
    assert planned(_sweep()) == planned(_sweep())


def test_the_ids_of_the_quickstart_never_change(thermolion):
    plan = json.loads(thermolion("plan", SWEEPS / "quickstart.yaml", "--json").out)
    assert len(plan["trials"]) == 20
    assert [trial["id"] for trial in plan["trials"][:4]] == [
        "6e11ce36ba15e690",
        "86ecab7ae2a06431",
        "99c1ca3aa0cfa07d",
        "cecc6db3f84625c3",
    ]
    for trial in plan["trials"]:
        assert Trial.from_json(trial).id == trial["id"]


def test_a_target_is_a_label_and_changes_no_id(planned):
    with_target = planned(_sweep().replace("epochs: 1", "epochs: 1, target: 0.9"))
    plain = planned(_sweep())
    assert [one["id"] for one in with_target["trials"]] == [one["id"] for one in plain["trials"]]
    assert Trial.from_json(with_target["trials"][0]).workload.metric_spec.target == 0.9
    assert "target" not in str(plain["trials"][0])


def test_telemetry_is_a_label_and_changes_no_id(planned):
    told = planned(_sweep().replace("epochs: 1", "epochs: 1, telemetry: true"))
    plain = planned(_sweep())
    assert [one["id"] for one in told["trials"]] == [one["id"] for one in plain["trials"]]
    assert Trial.from_json(told["trials"][0]).workload.telemetry
    assert "telemetry" not in str(plain["trials"][0])


def test_written_out_defaults_and_renaming_change_no_id(planned):
    short = planned(_sweep("candidates: {adamw: {}}"))
    long = planned(
        _sweep(
            "candidates: {mine: {optimizer: 'torch.optim:AdamW', lr: 0.001, betas: [0.9, 0.999], "
            "eps: 1e-8, weight_decay: 0.01, amsgrad: false}}",
            workloads="workloads: [{name: w, dataset: digits, model: {mlp: {hidden: [256]}}, "
            "epochs: 1, global_batch: 128, augment: [], split: fair}]",
        )
    )
    ids = [[trial["id"] for trial in plan["trials"]] for plan in (short, long)]
    assert ids[0] == ids[1]
    assert _names(long, "candidate") == {"mine"}
    assert _names(long, "workload") == {"w"}


def test_a_gate_changes_the_id_unless_it_is_the_default(planned):
    plans = [
        planned(_sweep(f"candidates: {{thermolion: {{{settings}}}}}"))["trials"]
        for settings in (
            "",
            "gate: averaged, reference_batch: null, replicas_feed: gate",
            "gate: replicas",
            "gate: replicas, reference_batch: 128",
            "gate: replicas, reference_batch: 128, replicas_feed: all",
            "gate: local",
        )
    ]
    ids = [trials[0]["id"] for trials in plans]
    assert ids[0] == ids[1] == "9f8bcb255bc72b87"  # its id before there was a gate to choose
    assert len(set(ids)) == 5
    recorded = plans[4][0]["candidate"]["hyperparameters"]
    assert (recorded["reference_batch"], recorded["replicas_feed"]) == (128, "all")
    assert Trial.from_json(plans[4][0]).id == ids[4]


def test_a_fused_step_is_recorded_and_another_trial_and_false_is_as_if_left_out(planned):
    plans = [
        planned(_sweep(f"candidates: {{thermolion: {{{settings}}}}}"))["trials"]
        for settings in ("", "fused: false", "fused: true", "fused: true, gate: local")
    ]
    ids = [trials[0]["id"] for trials in plans]
    assert ids[0] == ids[1] == "9f8bcb255bc72b87"  # its id before there was a form to choose
    assert len(set(ids)) == 3
    assert "fused" not in plans[1][0]["candidate"]["hyperparameters"]
    assert plans[2][0]["candidate"]["hyperparameters"]["fused"] is True
    assert Trial.from_json(plans[2][0]).id == ids[2]


def test_a_form_of_the_step_is_recorded_with_the_candidate_if_a_sweep_asks_for_it(planned):
    forms = ("", "fused: false, foreach: null, capturable: false", "fused: true", "foreach: false")
    trials = [
        planned(_sweep(f"candidates: {{thermolion: {{{form}}}}}"))["trials"][0]
        for form in (*forms, "foreach: true, capturable: true")
    ]
    ids = [trial["id"] for trial in trials]
    assert ids[0] == ids[1] == "9f8bcb255bc72b87"  # its id before there was a form to choose
    assert len(set(ids)) == 4
    assert "fused" not in trials[1]["candidate"]["hyperparameters"]
    assert trials[2]["candidate"]["hyperparameters"]["fused"] is True
    adamw = planned(_sweep("candidates: {adamw: {fused: true}}"))["trials"][0]
    assert adamw["candidate"]["hyperparameters"]["fused"] is True


def test_whole_numbers_and_floats_of_equal_value_are_one_trial(planned):
    plans = [planned(_sweep(f"candidates: {{adamw: {{lr: {lr}}}}}")) for lr in ("1", "1.0", "1e0")]
    assert len({plan["trials"][0]["id"] for plan in plans}) == 1


def test_a_list_makes_a_grid_and_betas_are_one_value(planned):
    plan = planned(
        _sweep(
            "candidates: {adamw: {lr: [1e-3, 3e-4], weight_decay: [0, 0.1], betas: [0.8, 0.9]}}"
        )
    )
    assert _names(plan, "candidate") == {
        "adamw[lr=0.001,weight_decay=0]",
        "adamw[lr=0.001,weight_decay=0.1]",
        "adamw[lr=0.0003,weight_decay=0]",
        "adamw[lr=0.0003,weight_decay=0.1]",
    }
    assert all(
        trial["candidate"]["hyperparameters"]["betas"] == [0.8, 0.9] for trial in plan["trials"]
    )


def test_a_list_of_lists_makes_a_grid_of_betas(planned):
    plan = planned(_sweep("candidates: {adamw: {betas: [[0.9, 0.99], [0.9, 0.999]]}}"))
    assert _names(plan, "candidate") == {"adamw[betas=0.9/0.99]", "adamw[betas=0.9/0.999]"}


def test_replicas_of_equal_content_are_trials_of_their_own(planned):
    plan = planned(_sweep("candidates: {adamw: {replica: [0, 1]}}", seeds="seeds: 1"))
    assert len({trial["id"] for trial in plan["trials"]}) == 2
    assert plan["trials"][0]["seeds"] == plan["trials"][1]["seeds"]


def test_pilots_of_the_baseline_come_first_if_no_target_is_known(planned):
    plain = "{name: plain, dataset: digits, model: mlp, epochs: 1}"
    with_target = "{name: with_target, dataset: digits, model: mlp, epochs: 2, target: 0.9}"
    plan = planned(
        _sweep(
            "candidates: {sgd: {}, adamw: {}}",
            workloads=f"workloads: [{plain}, {with_target}]",
            rest="baseline: sgd\npilot: {seeds: 3}",
        )
    )
    first, rest = plan["trials"][:3], plan["trials"][3:]
    assert {trial["phase"] for trial in first} == {"pilot"}
    assert {trial["labels"]["candidate"] for trial in first} == {"sgd"}
    assert {trial["labels"]["workload"] for trial in first} == {"plain"}
    assert [trial["phase"] for trial in rest] == ["compare"] * 8


def test_workloads_that_differ_in_ranks_alone_are_tuned_once_if_tuning_has_its_own_ranks(planned):
    text = _sweep(
        "candidates: {sgd: {}, adamw: {}}",
        workloads="workloads: {each: {ranks: [2, 4]}, dataset: digits, model: mlp, epochs: 1}",
        rest="baseline: sgd\ntune: {trials: 4, repeats: 1, seeds: 1, ranks: 1}",
    )
    trials = [Trial.from_json(trial) for trial in planned(text)["trials"]]
    assert len({trial.id for trial in trials}) == len(trials) == 8
    assert {(trial.phase, trial.world_size) for trial in trials} == {("tune", 1)}
    settings = Counter(trial.candidate.declared for trial in trials)
    assert settings == {"sgd": 4, "adamw": 4}


def test_each_crosses_and_defaults_fill_in(planned):
    plan = planned(
        _sweep(
            workloads="workloads: "
            "{each: {dataset: [mnist, usps], model: [mlp, convnet]}, epochs: 2}",
            defaults="defaults: {epochs: 9, global_batch: 64}",
        )
    )
    assert _names(plan, "workload") == {"mnist-mlp", "mnist-convnet", "usps-mlp", "usps-convnet"}
    assert {t["workload"]["epochs"] for t in plan["trials"]} == {2}
    assert {t["workload"]["global_batch"] for t in plan["trials"]} == {64}


def test_seeds_are_a_number_of_blocks_or_their_indices(planned):
    assert {t["block"] for t in planned(_sweep(seeds="seeds: 3"))["trials"]} == {0, 1, 2}
    listed = planned(_sweep(seeds="seeds: [4, 1]"))
    assert {t["block"] for t in listed["trials"]} == {4, 1}
    ids = {t["id"] for t in planned(_sweep(seeds="seeds: 5"))["trials"]}
    assert {t["id"] for t in listed["trials"]} < ids


def test_a_root_seed_moves_every_stream(planned):
    streams = [
        planned(_sweep(root_seed=f"root_seed: {root}"))["trials"][0]["seeds"] for root in (0, 1)
    ]
    assert not set(streams[0].values()) & set(streams[1].values())


def test_threads_are_those_declared(planned):
    plan = planned(_sweep(resources="resources: {cpus_per_task: 2}"))
    assert {t["threads"] for t in plan["trials"]} == {2}
    assert plan["lanes"] >= 1


def test_scalars_are_those_of_yaml_1_2(planned):
    plan = planned(_sweep(workloads="workloads: [{dataset: digits, model: mlp, epochs: 010}]"))
    assert {t["workload"]["epochs"] for t in plan["trials"]} == {10}
    plan = planned(_sweep("candidates: {no: {optimizer: adamw, lr: 1E-3}}"))
    assert _names(plan, "candidate") == {"no"}
    assert plan["trials"][0]["candidate"]["hyperparameters"]["lr"] == 1e-3


def test_zero_has_no_sign(planned):
    plans = [
        planned(_sweep(f"candidates: {{adamw: {{weight_decay: {zero}}}}}"))
        for zero in ("0", "0.0", "-0.0")
    ]
    assert len({plan["trials"][0]["id"] for plan in plans}) == 1


def test_set_overrides_what_the_file_says(planned):
    plan = planned(_sweep(), "--set", "candidates.adamw.lr=1e-4", "--set", "workloads.0.epochs=7")
    assert {t["candidate"]["hyperparameters"]["lr"] for t in plan["trials"]} == {1e-4}
    assert {t["workload"]["epochs"] for t in plan["trials"]} == {7}


def test_the_plan_is_readable(thermolion):
    said = thermolion("plan", SWEEPS / "quickstart.yaml", "--lanes", 2)
    for words in (
        "20 = 1 x 4 x 5",
        "thermolion against lion",
        "20 waiting",
        "5 to send, 2 at a time, 1 thread each",
        "rough guess",
        "2.76 sd",
    ):
        assert words in said.out


def test_keys_for_clusters_are_said_to_change_nothing_on_this_machine(planned):
    keys = "site: far\npack: {at_least: 1h}\nresources: {time: 2h, mem: 4G}\n"
    said = "backend local has no use for site, pack, resources.time, resources.mem: left alone"
    assert said in planned(_sweep() + keys)["notes"]
    assert planned(_sweep())["notes"] == []


def test_no_more_trials_run_here_than_may_at_a_time(planned):
    assert planned(_sweep() + "limits: {concurrent: 1}\n")["lanes"] == 1


def test_the_schema_for_editors_is_that_of_the_code():
    made = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep.schema"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (SWEEPS / "schema.json").read_text() == made.stdout, "run: make schema"


def _trials(planned, workloads: int, blocks: int, candidates: int) -> list[Trial]:
    text = _sweep(
        "candidates: {adamw: {lr: [" + ", ".join(f"0.{n + 1}" for n in range(candidates)) + "]}}",
        workloads="workloads: {each: {epochs: ["
        + ", ".join(f"{n + 1}" for n in range(workloads))
        + "]}, dataset: digits, model: mlp}",
        seeds=f"seeds: {blocks}",
    )
    named = text.replace("{each:", "{name: w, each:") if workloads == 1 else text
    return [Trial.from_json(trial) for trial in planned(named)["trials"]]


@pytest.mark.parametrize(("blocks", "lanes"), [(1, 1), (5, 2), (3, 8), (40, 2), (1, 3)])
def test_packs_carry_every_trial_once_in_whole_blocks(planned, blocks, lanes):
    trials = _trials(planned, 1, blocks, 3)
    packs = make_packs(trials, lanes)
    carried = [trial.id for pack in packs for trial in pack]
    assert sorted(carried) == sorted(trial.id for trial in trials)
    if blocks >= lanes:
        whole = [sorted(trial.block for trial in pack) for pack in packs]
        assert all(len(pack) % 3 == 0 for pack in whole)
        assert len(packs) >= lanes
    else:
        assert len(packs) >= min(lanes, len(trials))


def test_a_trial_whose_process_died_goes_alone_after_the_others(planned):
    trials = _trials(planned, 1, 4, 3)
    suspect = trials[0]
    packs = make_packs(trials, 2, {suspect.id})
    assert packs[-1] == (suspect,)
    assert sum(suspect in pack for pack in packs) == 1
    assert sum(map(len, packs)) == len(trials)


def test_no_trials_make_no_packs():
    assert make_packs([], 4) == []
