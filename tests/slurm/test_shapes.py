"""When jobs would start, what they are given, and on which GPUs the trials of a block run."""

import json
import re

from slurm_lab import FOUR

MIXED = """\
study: mixed
workloads: [{dataset: digits, model: {mlp: {hidden: [8]}}, epochs: 1, train_images: 64}]
candidates: {sgd: {lr: 0.01}, adam: {lr: 0.01}}
seeds: 6
backend: slurm
pack: {at_least: 0s}
resources: {gpus_per_node: 1}
"""


def test_plan_says_when_jobs_would_start_in_each_partition_by_a_question_a_shape(lab):
    sweep = lab.write(FOUR, "four.yaml")
    calls = lab.folder / "calls"
    path = lab.stand_in("sbatch", f'echo "$@" >> {calls}\nexec REAL "$@"')
    site = lab.site(partition="main,urgent")
    said = lab.call("plan", sweep, "--site", site, PATH=path)
    assert said.code == 0, said.err
    assert re.search(
        r"start +(main|urgent): now; (main|urgent): now, whichever is first", said.out
    )
    asked = [line for line in calls.read_text().splitlines() if "--test-only" in line]
    assert len(asked) == 2  # of four trials, one shape
    starts = json.loads(lab.call("plan", sweep, "--site", site, "--json").out)["starts"]
    assert {one["partition"] for one in starts} == {"main", "urgent"}
    assert all(one["time"] and one["cpus"] == 1 for one in starts)
    assert lab.squeue() == []


def test_the_trials_of_a_block_go_to_one_model_of_gpu_where_a_partition_mixes_them(lab):
    sweep = lab.write(MIXED, "mixed.yaml")
    path = lab.stand_in("sinfo", 'REAL "$@" | sed "s/gpu:2/gpu:a100:1,gpu:v100:1/"')
    any_ = lab.call("plan", sweep, "--json", PATH=path)
    assert len(json.loads(any_.out)["sbatch"]) == 1
    said = json.loads(lab.call("plan", sweep, "--json", "--set", "blocks.same=gpu", PATH=path).out)
    models = [re.search(r"--gres=gpu:(\w+):1", script) for script in said["sbatch"]]
    assert [model and model[1] for model in models] == ["a100", "v100"]
    blocks = {one["id"]: one["block"] for one in said["trials"]}
    first = int(re.search(r"--array=0-(\d+)", said["sbatch"][0])[1]) + 1
    packs = said["packs"]
    on_first = {blocks[trial] for pack in packs[:first] for trial in pack}
    on_second = {blocks[trial] for pack in packs[first:] for trial in pack}
    assert on_first | on_second == set(range(6))
    assert not on_first & on_second


def test_a_time_is_always_asked_for_and_what_is_too_much_is_said_after_the_first_block(lab):
    sweep = lab.write(FOUR, "four.yaml")
    assert "#SBATCH --time=1440" in lab.call("plan", sweep).out  # all that the partition gives
    assert lab.call("submit", sweep, "--set", "resources.mem=4000M").code == 0
    lab.await_results("four", 4)
    said = lab.call("status", "four").out
    assert re.search(
        r"right size: the largest of 4 jobs used .* of 1440 min; \d+ of 4000 MB", said
    )
    assert "would do: resources: {time: 5min, mem:" in said
    size = json.loads(lab.call("status", "four", "--json").out)["right_size"]
    assert size["lines"]["time"] == "5min"
    more = lab.call("plan", sweep, "--set", "seeds=6").out
    minutes = int(re.search(r"#SBATCH --time=(\d+)", more)[1])
    assert minutes < 15  # by trials that took a second, and what a job may need to begin


def test_a_workload_and_a_candidate_have_time_and_memory_of_their_own(lab):
    sweep = lab.write(MIXED.replace("resources: {gpus_per_node: 1}\n", ""), "mixed.yaml")
    each = "resources={time: 1h, mem: 1G, each: {digits: {mem: 2G}, adam: {time: 2h, mem: 500M}}}"
    said = json.loads(lab.call("plan", sweep, "--json", "--set", each).out)
    asked = [re.findall(r"--(?:mem|time)=(\w+)", script) for script in said["sbatch"]]
    assert sorted(asked) == [["2G", "120"], ["2G", "60"]]
    plain = json.loads(lab.call("plan", sweep, "--json").out)
    assert {one["id"] for one in said["trials"]} == {one["id"] for one in plain["trials"]}
    wrong = lab.call("plan", sweep, "--set", "resources={each: {adm: {time: 1h}}}")
    assert wrong.code == 2
    assert "'adm' is neither a workload nor a candidate" in wrong.err
    assert "adam" in wrong.err


def test_a_large_array_runs_100_jobs_at_a_time_unless_the_sweep_says_otherwise(lab):
    sweep = lab.write(FOUR, "four.yaml")
    small = lab.call("plan", sweep, "--set", "seeds=100").out
    assert "#SBATCH --array=0-99\n" in small
    assert "`limits: {concurrent: N}`" not in small
    lab.cluster.ask("scontrol", "update", "nodename=ALL", "state=drain", "reason=x")
    try:
        large = lab.call("plan", sweep, "--set", "seeds=101").out
        assert "#SBATCH --array=0-100%100\n" in large
        assert "--dependency" not in large
        assert "100 jobs run at a time" in large
        assert "`limits: {concurrent: N}`" in large
        assert lab.call("submit", sweep, "--set", "seeds=101").code == 0
        (script,) = (lab.layout("four").submission("0001") / "scripts").glob("*.sh")
        assert "#SBATCH --array=0-100%100\n" in script.read_text()
        assert lab.call("cancel", "four").code == 0
    finally:
        lab.cluster.ask("scontrol", "update", "nodename=ALL", "state=resume")
    more = lab.call("plan", sweep, "--set", "seeds=101", "--set", "limits.concurrent=500").out
    assert "#SBATCH --array=0-100\n" in more
    assert "`limits: {concurrent: N}`" not in more


def test_trials_that_use_a_small_part_of_a_gpu_could_share_it(lab):
    sweep = lab.write(FOUR, "four.yaml")
    assert lab.call("submit", sweep).code == 0
    lab.await_results("four", 4)
    assert "trials_per_gpu" not in lab.call("status", "four").out
    for log in lab.layout("four").events.glob("*.jsonl"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            line |= {"opened": {"device_memory_mb": 81920}}.get(line["type"], {})
            line |= {"completed": {"peak_memory_mb": 8000.0}}.get(line["type"], {})
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = lab.call("status", "four").out
    assert "a trial used 8000 of 81920 MB of its GPU" in said
    assert "would do: pack: {trials_per_gpu: 6}" in said
    packed = lab.call("plan", sweep, "--set", "pack={at_least: 0s, trials_per_gpu: 6}")
    assert packed.code == 0, packed.err
