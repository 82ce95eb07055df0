"""A search with a known answer: the best rate differs by candidate and by workload."""

import json
from collections import Counter
from pathlib import Path

from jobs.contract.layout import Layout
from tracking.outcomes import Outcome, read_outcomes

BEST = {("one", "left"): -4, ("one", "right"): -1, ("two", "left"): -2, ("two", "right"): -3}

# Test data say the opposite. The further a training gets, the better it is, all alike.
TRAINING = f"""\
import math

BEST = {BEST}

def train(trial, context):
    name = trial.candidate.setting_of or trial.candidate.name
    given = trial.candidate.hyperparameters
    far = abs(math.log10(given["lr"]) - BEST[trial.workload.name, name])
    score = 1 / (1 + far) / (2 if given["mode"] == [0, 1] else 1)
    for step in range(1, 10):
        context.log(step, val=score * step / 9 + context.seed("init") % 97 * 1e-9, test=1 - score)
        if context.should_stop():
            return
"""

SWEEP = """\
study: searched
defaults: {train: "my_search:train", steps: 9, metric: val, final_metric: test, unit: fraction}
workloads:
  - {name: one, options: {at: one}}
  - {name: two, options: {at: two}}
candidates: {left: {}, right: {}}
baseline: left
seeds: 2
tune:
  trials: 20
  repeats: 1
  search: SEARCH
  widen: 0
  space: {"*": {lr: {log: [1e-5, 1]}, mode: {choice: [[1, 0], [0, 1]]}}}
"""


def search_lab(folder: Path, search: str, **changes: str) -> Path:
    """Lay out the training and return its sweep; `changes` are of values, by the key before."""
    folder.mkdir()
    (folder / "my_search.py").write_text(TRAINING)
    text = SWEEP.replace("SEARCH", search)
    for key, value in changes.items():
        old = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        text = text.replace(old, f"{old.partition(':')[0]}: {value}")
    path = folder / "searched.yaml"
    path.write_text(text)
    return path


def tried(layout: Layout) -> dict[tuple[str, str], list[Outcome]]:
    """Return the tuning trials by workload and candidate, in the order of their settings."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for one in read_outcomes(layout.events).values():
        if one.trial.phase == "tune":
            at = one.trial.workload.name, one.trial.candidate.setting_of or ""
            found.setdefault(at, []).append(one)
    return {
        at: sorted(of, key=lambda one: int(one.trial.candidate.name.partition("#")[2]))
        for at, of in found.items()
    }


def ended(layout: Layout) -> Counter[str]:
    """Count, by trial, how often any log says that it is complete."""
    return Counter(
        json.loads(line)["trial"]
        for log in layout.events.glob("*.jsonl")
        for line in log.read_text().splitlines()
        if '"type":"completed"' in line
    )
