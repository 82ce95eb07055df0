"""The README's commands on a study do what they say, one after another."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from jobs.contract.layout import Layout
from tracking.outcomes import read_outcomes

REPO = Path(__file__).parents[2]
# The sweep as it is takes minutes.
LESS = {"model: convnet": "model: mlp", "epochs: 3": "epochs: 1", "images: 3000": "images: 200"}
LESS |= {"seeds: 3": "seeds: 2"}


def test_the_commands_of_the_readme_on_a_study(tmp_path, data_root, warm):
    sweep = (REPO / "sweeps" / "images.yaml").read_text()
    for usual, less in LESS.items():
        assert usual in sweep
        sweep = sweep.replace(usual, less)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "images.yaml").write_text(sweep)
    block = next(
        block
        for block in re.findall(
            r"^```sh\n(.*?)^```$", (REPO / "README.md").read_text(), re.M | re.S
        )
        if "sweeps/images.yaml" in block
    )
    said = {}
    layout = Layout(tmp_path / "studies", "images")
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True)
        if program == ".":
            continue
        assert program == "thermolion"
        known = {"DIR": str(data_root), "ID": next(iter(_trials(layout)), "")}
        said[words[0]] = _call(warm, tmp_path, [known.get(word, word) for word in words])
    assert "12 = 2 x 3 x 2" in said["plan"]
    assert "12 of 12 trials done" in said["run"]
    assert "12 of 12 trials are done" in said["submit"]
    assert "12 completed" in said["status"]
    assert "trial 1 of" in said["logs"]
    assert "nothing was recorded" in said["trial"]  # the last of two
    assert "images" in said["studies"]
    assert "thermolion vs adamw" in said["compare"]
    assert {outcome.attempts for outcome in _trials(layout).values()} == {1}


def _trials(layout):
    return read_outcomes(layout.events) if layout.events.exists() else {}


def _call(python, folder, words):
    dropped = ("MLFLOW_TRACKING_URI", "THERMOLION_ROOT")
    done = subprocess.run(
        [python, "-P", "-m", "orchestrator.cli.main", *words],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in dropped},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
