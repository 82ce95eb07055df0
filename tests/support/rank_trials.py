"""Trials of several ranks, small ones, and optimizers of a user's that write down or go wrong."""

import dataclasses
import time

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload

SET = {"difficulty": 0.3, "images": 130, "classes": 4, "size": 8, "seed": 1}
PLAIN = ImageWorkload(
    "plain",
    dataset="synthetic",
    dataset_options=SET,
    model="mlp",
    model_options={"hidden": [32], "dropout": 0.0},
    epochs=3,
    global_batch=30,
    train_images=101,
)
# Two buckets of gradients, the second of which torch fills in another order from step two on.
WIDE = {"hidden": [512, 512], "dropout": 0.2}

LAB = """
import os
import time
import torch
from torch import nn

FOLDER = os.environ["LAB_FOLDER"]


def flat(params, grad=False):
    return torch.cat([(p.grad if grad else p).detach().flatten() for p in params])


class Seen(torch.optim.SGD):
    '''Writes down every gradient and what comes of it.'''

    def __init__(self, params, lr, tag):
        super().__init__(params, lr=lr)
        self.params, self.seen = self.param_groups[0]["params"], []
        self.tag = tag

    def step(self, closure=None):
        gradient = flat(self.params, grad=True)
        super().step()
        self.seen.append((gradient, flat(self.params)))
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        torch.save(self.seen, f"{FOLDER}/{self.tag}-{rank}.pt")


class Strays(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        with torch.no_grad():
            self.param_groups[0]["params"][0][0, 0] += torch.distributed.get_rank()


class LateOnRank0(nn.Sequential):
    '''Has the other ranks come first to whatever is done with the weights.'''

    def state_dict(self, *args, **options):
        time.sleep(0.5 * (torch.distributed.get_rank() == 0))
        return super().state_dict(*args, **options)


class Raises(torch.optim.SGD):
    count = 0

    def step(self, closure=None):
        self.count += 1
        if torch.distributed.get_rank() == 1 and self.count == 2:
            raise ValueError("no such luck")
        super().step()


class Breaks(torch.optim.SGD):
    '''Has the GPU of rank 1 break.'''

    def step(self, closure=None):
        if torch.distributed.get_rank() == 1:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        super().step()


def late(channels, size, classes):
    return LateOnRank0(nn.Flatten(), nn.Linear(channels * size**2, classes))


def net(channels, size, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * (size - 2) ** 2, classes))
"""


LONG = dataclasses.replace(PLAIN, epochs=4000, model_options={"hidden": [16], "dropout": 0.1})


def trial(ranks, workload=PLAIN, optimizer="sgd", precision="fp32", **hyperparameters):
    candidate = Candidate(optimizer, optimizer, hyperparameters or {"lr": 0.1})
    seeds = block_seeds(0, "compare", workload, 0)
    return Trial(workload, candidate, "compare", 0, seeds, world_size=ranks, precision=precision)


def started(study, **fields):
    """Start a study and wait until it has evaluated something; return its processes."""
    processes = study.start(**fields)
    end = time.monotonic() + 120
    while not any(b'"evaluated"' in log.read_bytes() for log in study.layout.events.glob("*")):
        assert time.monotonic() < end, "nothing was evaluated"
        time.sleep(0.02)
    return processes
