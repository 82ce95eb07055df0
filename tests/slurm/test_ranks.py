"""Trials of several ranks, over nodes that are really several to SLURM."""

import json
from pathlib import Path

from processes import wait_for
from slurm_lab import Lab

from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

SWEEP = """\
study: ranks
workloads: [{dataset: digits, model: {mlp: {hidden: [32]}}, epochs: 2, global_batch: 64}]
candidates: {adamw: {optimizer: "checked:Checked", lr: 1e-2}}
seeds: 1
resources: {nodes: 2, tasks_per_node: 2}
"""


# An optimizer that looks, after every step, whether all ranks have the same weights to the bit.
CHECKED = """\
from pathlib import Path

import torch
import torch.distributed as dist
from jobs.images.splits import tensor_digest


class Checked(torch.optim.AdamW):
    def step(self, closure=None):
        loss = super().step(closure)
        mine = tensor_digest(p for group in self.param_groups for p in group["params"])
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, mine)
        if set(every) != {mine}:
            raise RuntimeError(f"ranks differ: {every}")
        if dist.get_rank() == 0:
            with Path("STEPS").open("a") as steps:
                steps.write(f"{len(every)} {mine}\\n")
        return loss
"""


def _checked(lab: Lab) -> Path:
    """Write the sweep with its optimizer; return where it leaves a line a step."""
    steps = lab.folder / "steps"
    (lab.folder / "checked.py").write_text(CHECKED.replace("STEPS", str(steps)))
    lab.write(SWEEP, "ranks.yaml")
    return steps


def _measured(lab: Lab) -> object:
    (outcome,) = read_outcomes(lab.layout("ranks").events).values()
    return outcome.weights, dict(outcome.metrics), [point.metrics for point in outcome.curve]


def test_two_nodes_of_two_ranks_give_the_bits_of_four_local_ones(lab, tmp_path):
    steps = _checked(lab)
    sent = lab.call("submit", "ranks.yaml", "--backend", "slurm")
    assert sent.code == 0, sent.err
    lab.await_results("ranks", 1)
    (log,) = lab.layout("ranks").events.iterdir()  # rank 0 alone writes
    opened = json.loads(log.read_text().splitlines()[0])
    assert opened["submission"] == "0001"
    here = lab.another(tmp_path / "here")
    local_steps = _checked(here)
    local = here.call("submit", "ranks.yaml")
    assert local.code == 0, local.err
    here.await_results("ranks", 1)
    assert _measured(lab) == _measured(here)
    digests = steps.read_text().splitlines()
    assert len(set(digests)) == len(digests) > 10
    assert {line.split()[0] for line in digests} == {"4"}
    assert digests == local_steps.read_text().splitlines()


def test_a_job_that_is_started_again_after_its_end_has_nothing_to_do_on_any_rank(lab):
    sweep = lab.write(SWEEP.replace("checked:Checked", "adamw"), "ranks.yaml")
    assert lab.call("submit", sweep, "--backend", "slurm").code == 0
    lab.await_results("ranks", 1)
    (array_job,) = ArrayJobs(lab.layout("ranks"), "0001").read()
    assert array_job.id is not None
    lab.cluster.ask("scontrol", "requeue", f"{array_job.id}_0")  # as SLURM does for a dead node
    lab.cluster.ask("scontrol", "update", f"jobid={array_job.id}_0", "StartTime=now+2")
    log = lab.layout("ranks").job_output("0001", 0)
    wait_for(lambda: log.read_text().count("nothing to do") == 4)
    wait_for(lambda: lab.squeue() == [], seconds=20)  # nobody waits for another rank
    assert len(list(lab.layout("ranks").events.iterdir())) == 1


# A command that says of each rank what it was told of its place, and what its user's shell has.
PLACES = """\
import os, sys
from pathlib import Path

names = "RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "MINE"
told = [os.environ.get(name, "-") for name in names]
Path("PLACES", f"{sys.argv[1]}-{told[0]}").write_text(" ".join(told))
if told[0] in ("0", "-"):
    with open(os.environ["THERMOLION_LOG"], "a") as log:
        log.write('{"final": {"loss": 0.5}}\\n')
"""
PLACED = """\
study: placed
workloads: [{name: mine, command: "python places.py {optimizer} {seed}", metric: loss}]
candidates: {a: {optimizer: x}}
seeds: 1
backend: slurm
"""
LEFT = {"RANK": "3", "WORLD_SIZE": "7", "OMPI_COMM_WORLD_RANK": "3", "SLURM_PROCID": "3"}


def _places(lab: Lab, resources: str, **options: str) -> list[str]:
    """Send a command from a shell with the variables of a launcher; return its places."""
    places = lab.folder / "places"
    places.mkdir()
    (lab.folder / "places.py").write_text(PLACES.replace("PLACES", str(places)))
    sweep = lab.write(PLACED + resources)
    site = lab.site(setup=["export MINE=yes"], options=options)
    said = lab.call("submit", sweep, "--site", site, **LEFT)
    assert said.code == 0, said.err
    lab.await_results("placed", 1)
    return sorted(path.read_text() for path in places.iterdir())


def test_ranks_keep_their_environment_if_a_site_exports_none(lab):
    resources = "resources: {nodes: 2, tasks_per_node: 2}\n"
    told = _places(lab, resources, export="NONE")
    assert told == [f"{rank} 4 - yes" for rank in range(4)]


def test_what_a_launcher_has_left_in_the_shell_reaches_no_command_of_one_rank(lab):
    assert _places(lab, "") == ["- - - yes"]


def test_a_script_for_ranks_asks_for_every_cpu_of_every_rank(lab):
    _checked(lab)
    said = lab.call("plan", "ranks.yaml", "--backend", "slurm")
    assert "#SBATCH --nodes=2" in said.out
    assert "#SBATCH --ntasks-per-node=2" in said.out
    assert "exec srun --ntasks=4 --nodes=2 --cpus-per-task=1" in said.out
