"""Attempts at trials, one after another, in a study in a folder."""

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from jobs.lane import run_pack
from jobs.ranks.launch import Launch
from tracking.outcomes import read_outcomes

RICH = ImageWorkload(
    name="digits",
    dataset="digits",
    model="convnet",
    model_options={"dropout": 0.2},
    epochs=2,
    global_batch=100,
    train_images=450,
    augment=("crop",),
    schedule={"cosine": {"warmup": 0.1, "floor": 0.0}},
    clip_norm=1.0,
    accumulate=2,
    label_smoothing=0.1,
    ema=0.9,
    no_decay=("bias", "norm"),
)
CANDIDATES = {
    "thermolion": {"lr": 1e-3},
    "adamw": {"lr": 1e-3},
    "lion": {"lr": 3e-4},
    "sgd": {"lr": 0.1, "momentum": 0.9},
}
# They keep a memory between steps: slow weights, a count, a switch (here within the ten steps).
REMEMBERING = {
    "lookahead": {"lr": 1e-3, "slow_every": 3},
    "swats": {"lr": 1e-3, "threshold": 1.0},
    "swats_notebook": {"lr": 1e-3, "switch_after": 4},
    "swa": {"lr": 0.1, "momentum": 0.9, "average_from": 0.3},
}
STEPS = 10


def made(workload=RICH, optimizer="thermolion", precision="fp32", block=0):
    options = (CANDIDATES | REMEMBERING)[optimizer]
    candidate = Candidate(optimizer, optimizer, options)
    seeds = block_seeds(0, "compare", workload, block)
    return Trial(workload, candidate, "compare", block, seeds, precision=precision)


class Study:
    """A study in a folder; each run is another attempt at its trials."""

    def __init__(self, folder, *trials, **pack):
        self.layout = Layout(folder, "study")
        self.trials, self.pack = trials, pack
        self.runs = 0

    def run(self, **launch):
        self.runs += 1
        pack = Pack(self.layout, f"{self.runs:04d}", 0, self.trials, **self.pack)
        return run_pack(pack, Launch(**launch))

    def outcomes(self):
        found = read_outcomes(self.layout.events)
        return [found[trial.id] for trial in self.trials]


def result(outcome):
    curve = [(point.step, point.metrics) for point in outcome.curve]
    return outcome.state, outcome.weights, outcome.metrics, curve, outcome.nondeterministic
