"""Another user of a real SLURM, who may cancel everybody's jobs: it takes root to be one."""

import shutil
import subprocess

from slurm_lab import Lab

OPERATOR = 1  # a user of every Linux


def scancel_as_operator(lab: Lab, *jobs: str) -> bool:
    """Cancel jobs as an operator of the site; return True if scancel has done so.

    The cluster has accounting: that says who is an operator.
    """
    folder = lab.cluster.paths.folder
    for opened in (folder, folder / "etc", folder / "run"):
        opened.chmod(0o755)
    name = subprocess.run(["id", "-un", str(OPERATOR)], capture_output=True, text=True).stdout
    add = ("sacctmgr", "-i", "add", "user", name.strip(), "account=lab", "adminlevel=operator")
    lab.cluster.ask(*add)
    scancel = [shutil.which("setpriv") or "", f"--reuid={OPERATOR}", "--clear-groups", "scancel"]
    done = subprocess.run([*scancel, *jobs], env=lab.environment, capture_output=True, text=True)
    return done.returncode == 0
