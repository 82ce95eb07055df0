"""A candidate that diverges in some of its seeds: flagged, counted, never averaged away."""

import json
import math
from pathlib import Path

import pytest
from imagined_study import ImaginedStudy

from orchestrator.results.conclude import StudyResults
from orchestrator.results.preregister import freeze
from tracking.report.terminal import verdict_text

SWEEP = """\
study: brittle
defaults: {model: {mlp: {hidden: [16]}}, epochs: 2, global_batch: 32, train_images: 512}
workloads: [{dataset: digits}]
candidates:
  adamw: {lr: 2e-3}
  brittle: {optimizer: "brittle:Brittle", lr: 5e-3}
baseline: adamw
seeds: {looks: [5, 10]}
"""

# Which seeds are unlucky is in their initial weights, as with a step size at the edge.
BRITTLE = """\
import torch

class Brittle(torch.optim.AdamW):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        first = float(self.param_groups[0]["params"][0].detach().abs().flatten()[0])
        if first * 1e4 % 1 < 0.385:
            self.param_groups[0]["lr"] = float("inf")
"""


def test_a_candidate_that_diverges_in_three_of_ten_seeds_is_never_called_better(
    thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("brittle.py").write_text(BRITTLE)
    Path("brittle.yaml").write_text(SWEEP)
    said = thermolion("run", "brittle.yaml", "--lanes", 2)
    assert said.code == 0, said.err
    found = json.loads(thermolion("compare", "brittle", "--json").out)
    (failed,) = found["failures"]
    assert (failed["candidate_diverged"], failed["baseline_diverged"], failed["n"]) == (3, 0, 10)
    for one in found["pooled"]:
        assert one["collapsed"] == [3, 0]
        assert "collapse" in one["flags"]
        assert one["verdict"] == "undecided"
        assert one["without_collapse"]["n"] == 7
        # Where it does not diverge it is ahead; chance for what diverged takes that away.
        assert one["without_collapse"]["mean"] > 0
        assert one["estimate"]["mean"] < one["without_collapse"]["mean"] - 5
    (summary,) = [one for one in found["summaries"] if one["candidate"] == "brittle"]
    assert (summary["n"], summary["diverged"]) == (10, 3)
    assert found["incomplete"] == []
    assert "diverged" in said.out


WINS = """\
study: s
workloads:
  - {name: one, train: "nobody:trains", metric: val, final_metric: test, unit: fraction, steps: 9}
candidates: {left: {}, right: {}}
baseline: right
seeds: 9
analysis: {primary: win_probability, endpoints: [final_test_accuracy]}
"""


def _score(trial):
    """Return a value with `left` ahead by one point, and diverged on block 3."""
    is_left = trial.candidate.name == "left"
    return math.nan if is_left and trial.block == 3 else 0.7 + 0.01 * is_left + trial.block / 1e4


def test_a_study_that_asks_who_wins_counts_a_divergence_as_a_loss(tmp_path, thermolion):
    made = ImaginedStudy(tmp_path, WINS, _score)
    results = StudyResults.read(made.study)
    assert freeze(made.study, results.stage, results.outcomes)
    made.run()
    made.edit(WINS.replace("primary: win_probability, ", ""))
    found = json.loads(thermolion("compare", "s", "--json").out)
    (pooled,) = [one for one in found["pooled"] if one["endpoint"] == "final_test_accuracy"]
    counts = {name: pooled["wins"][name] for name in ("won", "lost", "n")}
    assert counts == {"won": 8, "lost": 1, "n": 9}
    assert pooled["verdict"] == "wins more often"
    assert pooled["p_valid"] == pytest.approx(20 / 2**9)
    assert found["primary"] == "win_probability"
    (changed,) = [one for one in found["registration"]["deviations"] if "primary" in one]
    assert changed == "analysis.primary is mean by now; the frozen win_probability counts"
    results = StudyResults.read(made.study)
    comparison = results.compare()
    text = " ".join(verdict_text(comparison).split())
    assert "in final test: 8 won, 1 lost, 0 tied of 9 seeds" in text
    page = results.write_report(comparison).read_text()
    assert "a trial that diverged loses to one that did not" in page
