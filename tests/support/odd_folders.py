"""A folder with characters in its name that shells, URLs, SLURM or SQLite read as something else,
and a study of it: a command that imports what lies beside it, and reads a file.
"""

import json
from pathlib import Path

# A backslash is refused by SLURM alone: see ODD_ANYWHERE.
ODD = "odd %j a b%20c?d#e'f\"g é☃ $HOME;&*[x]"
ODD_ANYWHERE = ODD + r" AD\jdoe"
SWEEP = """\
study: odd
workloads: [{name: w, command: "python 'tr%aín ?#.py' {lr} {seed} {state}", metric: val}]
candidates: {a: {optimizer: x, lr: 0.1}, b: {optimizer: x, lr: 0.25}}
baseline: a
seeds: 1
"""
SCRIPT = """\
import sys
from pathlib import Path

import thermolion
from behind import LINKED

print("é☃ is printed")
Path(sys.argv[3], "x").write_text("1")
thermolion.log(1, val=float(sys.argv[1]) + float(Path("é ?#%20").read_text()) + LINKED)
"""
COMMAND_RESULTS = [11.1, 11.25]


def odd_project(folder: Path) -> Path:
    """Make a project with odd names in a folder; return its sweep file."""
    folder.mkdir(parents=True)
    (folder / "sw %j?#é.yaml").write_text(SWEEP, encoding="utf-8")
    (folder / "tr%aín ?#.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "é ?#%20").write_text("1")
    shared = folder.with_name("linked from é")
    (shared / "behind").mkdir(parents=True)
    (shared / "behind" / "__init__.py").write_text("LINKED = 10.0\n")
    (folder / "behind").symlink_to(shared / "behind")
    return folder / "sw %j?#é.yaml"


def finals(printed: str) -> list[float]:
    """Return the final values that `status --json` prints, sorted."""
    return sorted(trial["metrics"]["val"] for trial in json.loads(printed)["trials"])
