"""The study that the chaos tests are done to, and what there is to compare of two of them."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from jobs.contract import events
from jobs.contract.events import Event
from jobs.contract.layout import Layout
from orchestrator.study.study import open_study
from tracking.outcomes import read_outcomes

STUDY = "chaos"
_COMPLETED = re.compile(rb'"type":"completed","trial":"(\w+)"')
BLOCKS = int(os.environ.get("CHAOS_BLOCKS", "3"))
TRIALS = 9 * BLOCKS
# Trials of half a second or so; every third has two ranks, on two nodes.
SWEEP = """\
study: chaos
defaults: {dataset: digits, global_batch: 64, train_images: 1024}
workloads:
  - {name: ranks, model: {mlp: {hidden: [32], dropout: 0.2}}, epochs: 4, ranks: 2}
  - name: rich
    model: {convnet: {dropout: 0.2}}
    epochs: 3
    augment: [crop]
    schedule: {cosine: {warmup: 0.1}}
    precision: bf16
    ema: 0.95
    ranks: 1
  - {name: plain, model: {mlp: {dropout: 0.3}}, epochs: 6, ranks: 1}
candidates:
  thermolion: {}
  adamw: {lr: 1e-3}
  lion: {lr: 3.3e-4}
baseline: adamw
seeds: BLOCKS
checkpoint: {every: 0.2s}
backend: slurm
pack: {at_least: 9s, trial_takes: 1.5s}
failures:  # minutes with as many of them as years
  node_fail: {retries: 100, exclude: 0s}
  never_started: {retries: 100, backoff: 0s}
  lost: {retries: 100}
  gpu_fault: {retries: 100, exclude: 20s}
  unattended: true
""".replace("BLOCKS", str(BLOCKS))


def read_results(layout: Layout) -> dict[str, tuple[Any, ...]]:
    """Return, by trial, all that must not depend on what has happened meanwhile."""
    return {
        trial: (
            outcome.state,
            outcome.weights,
            outcome.metrics,
            [(point.step, point.epoch, point.metrics) for point in outcome.curve],
            outcome.nondeterministic,
        )
        for trial, outcome in read_outcomes(layout.events).items()
    }


def count_completions(layout: Layout) -> Counter[str]:
    """Count, by trial, how often any log says that it is complete."""
    found = [e.trial for e in read_all_events(layout) if e.type == events.COMPLETED]
    return Counter(trial for trial in found if trial is not None)


def read_all_events(layout: Layout) -> list[Event]:
    """Return all events of a study, log by log."""
    return [event for log in layout.events.glob("*.jsonl") for event in events.read_events(log)]


def read_progress(layout: Layout) -> tuple[int, frozenset[str]]:
    """Count the points in all logs; return the trials as well that are complete by them."""
    data = [log.read_bytes() for log in layout.events.glob("*.jsonl")]
    points = sum(log.count(b'"type":"evaluated"') for log in data)
    return points, frozenset(trial.decode() for log in data for trial in _COMPLETED.findall(log))


def split_by_ranks(sweep: Path, root: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the trials of one rank, and those of several."""
    trials = open_study(str(sweep), root).trials
    several = frozenset(trial.id for trial in trials if trial.world_size > 1)
    return frozenset(trial.id for trial in trials) - several, several
