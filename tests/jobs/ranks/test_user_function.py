"""A function of the user's on several ranks: its own process group, saved and gone on with."""

import dataclasses

from lanes import result
from rank_lanes import Study
from rank_trials import trial

from jobs.contract import events
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from jobs.lane import EXIT_INTERRUPTED

TRAINING = """
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

def train(trial, context):
    assert (context.rank, context.world_size) == (dist.get_rank(), dist.get_world_size())
    model = torch.nn.Linear(4, 1)
    parallel = DistributedDataParallel(model)
    optimizer = context.optimizer(model.parameters())
    state = context.load() or {"step": 0}
    if "model" in state:
        model.load_state_dict(state["model"])
    torch.manual_seed(context.rank) if not state["step"] else None
    for step in range(state["step"], 12):
        if context.should_save():
            context.save({"model": model.state_dict(), "step": step})
        if context.should_stop():
            return
        loss = (parallel(torch.randn(8, 4)) ** 2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        both = loss.detach().clone()
        dist.all_reduce(both)
        context.log(step + 1, loss=both, rank=float(context.rank))
    return {"loss": model.weight.sum(), "rank": context.rank}

def alone(trial, context):
    if context.rank == 0:
        context.save({})
        context.should_stop()
    context.log(1, loss=1.0)

def early(trial, context):
    if context.rank == 0:
        context.should_stop()
    context.log(1, loss=1.0)
"""


def test_a_function_of_the_user_is_given_its_rank_and_goes_on_with_the_same_bits(tmp_path):
    (tmp_path / "my_ranks.py").write_text(TRAINING)
    user_workload = UserWorkload(
        "mine", train="my_ranks:train", declared_metric=MetricSpec("loss", goal="min"), ranks=2
    )
    trials = [
        trial(2, user_workload),
        *(
            trial(2, dataclasses.replace(user_workload, train=f"my_ranks:{n}"))
            for n in ("alone", "early")
        ),
    ]
    whole = Study(tmp_path / "whole", *trials, code_root=tmp_path)
    assert whole.run() == [0, 0]
    trained, alone, early = whole.outcomes()
    assert trained.state == "completed", trained.traceback
    assert len(trained.curve) == 12
    assert {point.metrics["rank"] for point in trained.curve} == {0.0}
    broken = Study(tmp_path / "broken", trials[0], code_root=tmp_path)
    assert broken.run(stop_after=5) == [EXIT_INTERRUPTED] * 2
    assert broken.run() == [0, 0]
    assert result(broken.outcomes()[0]) == result(trained)
    for outcome in (alone, early):
        assert outcome.state == "failed"
        assert "every rank has to make the same calls" in outcome.error
    ids = [e.trial for log in whole.layout.events.iterdir() for e in events.read_events(log)]
    assert ids.count(trained.trial.id) == 14  # rank 0 alone has written
