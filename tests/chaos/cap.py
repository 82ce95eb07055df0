"""A cap of hours for a study under chaos, and what its jobs have taken by SLURM's word.

The cap is low, so that the study comes to it; then its user gives it a little more.
"""

import time
from dataclasses import dataclass, field

from slurm_lab import Lab
from subject import STUDY, SWEEP

from slurm.devcluster.cluster import Cluster

_MORE = 0.03  # CPU hours, each time that the study is held
_KEYS = """\
limits: {{cpu_hours: {hours:.4f}}}
resources: {{time: 2min}}
"""


@dataclass
class Cap:
    """The cap of a study in CPU hours, as it is now; `most` is what was taken of it by sacct.

    `passed` has every time that more was taken than the cap allows, `held` how often the study
    was held at it. Jobs that ended before `since` are of other studies.
    """

    lab: Lab
    hours: float
    most: float = 0.0
    held: int = 0
    passed: list[str] = field(default_factory=list)
    since: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S"))

    def write_sweep(self) -> None:
        """Write the sweep with its cap, for short jobs: what waits or runs counts by its limit.

        Without jobs that send others, which reserve more than all these trials take.
        """
        site = self.lab.site(grace="20s", account="lab", sbatch_on_nodes=False)
        keys = _KEYS.format(hours=self.hours) + f"site: {site}\n"
        policy = "failures:  # minutes"
        text = SWEEP.replace(policy, keys + policy).replace(
            "  lost: {retries", "  timeout: {retries: 100}\n  lost: {retries"
        )
        self.lab.write(text, f"{STUDY}.yaml")

    def look(self) -> None:
        """See if the jobs of the study have taken more than the cap."""
        self.most = max(self.most, _read_cpu_hours(self.lab.cluster, self.since))
        if self.most > self.hours:
            self.passed.append(f"{self.most:.4f} CPU hours taken, {self.hours:.4f} allowed")

    def give_more(self) -> None:
        """Raise the cap a little, as a user does whose study is held at it."""
        self.held += 1
        self.hours = max(self.hours, self.most) + _MORE
        self.write_sweep()

    def __str__(self) -> str:
        return f"{self.most:.3f} of {self.hours:.3f} CPU hours taken, held {self.held} times"


def _read_cpu_hours(cluster: Cluster, since: str) -> float:
    """Add up what sacct says of the study's jobs: every run of each, what runs now included.

    A controller that was killed leaves runs without an end in it: they count if they live.
    """
    wanted = ("-n", "-P", "-a", "-D", "-X", "-S", since)
    said = cluster.ask("sacct", *wanted, "--format=JobIDRaw,JobName,State,CPUTimeRAW")
    living = set(cluster.ask("squeue", "-h", "-r", "-t", "R,CG", "-o", "%A").split())
    seconds = 0
    for line in said.splitlines():
        job, name, state, cpu_s = line.split("|")
        ours = name.startswith(f"{STUDY}-")
        if ours and cpu_s.isdecimal() and (state != "RUNNING" or job in living):
            seconds += int(cpu_s)
    return seconds / 3600
