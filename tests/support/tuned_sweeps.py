"""Sweeps that tune, of images and of a user's training, and what is planned of them."""

import math
from collections import defaultdict
from pathlib import Path

from jobs.contract.trial import Trial
from orchestrator.study.study import open_study
from orchestrator.sweep.search_space import TunedCandidate

IMAGES = """\
study: s
workloads: [{dataset: digits, model: mlp, epochs: 9, global_batch: 64}]
candidates: {adamw: {}, thermolion: {}}
compare: {candidate: thermolion, against: adamw}
seeds: 3
"""
OWN = """\
study: imagined
defaults: {train: "nobody:trains", metric: val, final_metric: test, unit: fraction, steps: 9}
workloads:
  - {name: one, options: {at: 1}}
  - {name: two, options: {at: 2}}
candidates: {left: {}, right: {}}
baseline: left
seeds: SEEDS
tune: {trials: 4, REST, space: {"*": {lr: {log: [1e-4, 1]}}}}
"""


def own(seeds: object = 3, rest: str = "widen: 0") -> str:
    return OWN.replace("SEEDS", str(seeds)).replace("REST", rest)


def score(trial: Trial) -> float:
    """The best rate is 1e-2; which of several good ones wins turns on the seeds of a search."""
    luck = trial.seeds["noise"] % 1000 / 1e5
    return 1 / (1 + abs(math.log10(trial.candidate.hyperparameters["lr"]) + 2)) + luck


def plan(folder: Path, text: str) -> tuple[Trial, ...]:
    path = folder / "planned.yaml"
    path.write_text(text)
    return open_study(str(path), folder / "studies").trials


def rates_by_search(trials: tuple[Trial, ...]) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Return the rates that are tried, by workload and search, then by candidate."""
    rates: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in trials:
        if one.phase == "tune":
            place = one.workload.name, TunedCandidate.search_of(one.candidate)
            rates[place][one.candidate.declared].append(one.candidate.hyperparameters["lr"])
    return {at: {name: sorted(of) for name, of in found.items()} for at, found in rates.items()}
