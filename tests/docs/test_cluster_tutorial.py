"""The tutorial on a cluster, followed in a shell to its end: every command that it shows."""

import os
import re
import subprocess
from pathlib import Path

from slurm_lab import require_slurm, short_folder

from jobs.contract.layout import Layout
from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-cluster.md"
_BLOCK = re.compile(r"^```(\S*)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The Python of these tests, on nodes as well: it has loaded torch already.
_THERMOLION = """\
#!/bin/sh
exec PYTHON -P -m orchestrator.cli.main "$@"
"""
_BEGIN = """\
trap 'thermolion cluster down' EXIT
command -v sbatch || exit 1
"""


def _write_script(python: str) -> str:
    """Return the commands of the page as one script; each leaves what it prints in a file."""
    script = [_BEGIN]
    for language, _, text in _BLOCK.findall(PAGE.read_text()):
        for line in text.splitlines() if language in ("", "sh") else ():
            if line.startswith("eval "):  # the shell has to know what it says
                script += [line, f'echo \'python = "{python}"\' >> "$THERMOLION_SITE"']
            elif line.startswith("thermolion "):
                name = "-".join(line.split()[1:])
                script.append(f"{line} > 'said/{name}' 2>&1 || exit 1")
    return "\n".join(script)


def test_every_command_of_the_tutorial_on_a_cluster_does_what_the_page_says(
    tmp_path: Path, warm: str
) -> None:
    require_slurm(Shape())
    for _, title, text in _BLOCK.findall(PAGE.read_text()):
        if title:
            (tmp_path / title).write_text(text)
    (tmp_path / "said").mkdir()
    program = tmp_path / "bin" / "thermolion"
    program.parent.mkdir()
    program.write_text(_THERMOLION.replace("PYTHON", warm))
    program.chmod(0o755)
    dropped = ("MLFLOW_TRACKING_URI", "THERMOLION_ROOT", "THERMOLION_SITE", "SLURM_CONF")
    variables = {name: text for name, text in os.environ.items() if name not in dropped}
    with short_folder() as state:  # or its sockets have no place
        done = subprocess.run(
            ["bash", "-c", _write_script(warm)],
            cwd=tmp_path,
            env=variables
            | {
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(state),
            },
            capture_output=True,
            text=True,
        )
        left = list(state.glob("thermolion/cluster/simulated-*"))
    said = {path.name: path.read_text() for path in (tmp_path / "said").iterdir()}
    assert done.returncode == 0, (done.stdout, done.stderr, said)
    assert "#SBATCH --array=" in said["plan-second.yaml"]
    assert "10 trials in" in said["submit-second.yaml"]
    assert "10 of 10 trials done" in said["run-second"]
    assert "report.html" in said["run-second"]
    assert "trial 1 of" in said["logs-second"]
    assert "training resumed after" in said["doctor-second.yaml---simulate-preempt"]
    assert left == []
    outcomes = read_outcomes(Layout(tmp_path / "studies", "second").events).values()
    assert [outcome.state for outcome in outcomes] == ["completed"] * 10
