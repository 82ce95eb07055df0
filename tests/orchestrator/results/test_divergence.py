"""A candidate that diverges in some of its seeds: flagged, counted, never averaged away."""

import json
from pathlib import Path

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
