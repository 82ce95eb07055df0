"""A pack: the trials that one job carries, where their data and logs lie, and its environment.

Written on the login node, read on the compute node.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.contract.content import known_fields
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial

Keep = Literal["none", "last", "best"]
# The variables that every lane is started with.
LANE_ENVIRONMENT: Mapping[str, str] = {
    # A user's own folder named jobs/ or tracking/ must not shadow ours.
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    # What jobs print is read as UTF-8, whatever the terminal was that they were sent from.
    "PYTHONIOENCODING": "utf-8:backslashreplace",
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # glibc hands large tensors back to the system at every step and faults them in again, which
    # is half the time of a step on a CPU: keep them.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@dataclass(frozen=True)
class Pack:
    """The trials of one job and where their data and logs lie.

    `code_root` is the user's code, last on the import path. `keep` says which checkpoint is kept
    after its trial. If the first `patience` trials of a submission fail alike, the rest is held
    back (0: never). `code` is the digest of all sources at the time of submission: files that
    trials write into their folder are not code. With `usage`, trials log their use of the machine.
    """

    layout: Layout
    submission: str
    number: int
    trials: tuple[Trial, ...]
    data_root: Path | None = None
    download: bool = False
    code_root: Path | None = None
    checkpoint_every_s: float = 600.0
    keep: Keep = "none"
    patience: int = 3
    code: str | None = None
    usage: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the pack as its file has it; `from_json` is the inverse."""
        record = {"root": self.layout.root, "study": self.layout.study, **vars(self)}
        del record["layout"], record["trials"]
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in record.items()}
        return plain | {"trials": [trial.to_json() for trial in self.trials]}

    @staticmethod
    def from_json(record: dict[str, Any]) -> "Pack":
        """Rebuild a pack from `to_json`; fields that this version does not know are ignored."""
        known = known_fields(Pack, record)
        for name in ("data_root", "code_root"):
            known[name] = Path(known[name]) if known[name] else None
        known["layout"] = Layout(Path(record["root"]), record["study"])
        known["trials"] = tuple(Trial.from_json(trial) for trial in record["trials"])
        return Pack(**known)
