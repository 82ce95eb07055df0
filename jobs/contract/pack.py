"""A pack: the trials that one job carries, and where their data and logs lie.

Standard library only: written on the login node, read on the compute node.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.contract.layout import Layout
from jobs.contract.trial import Trial

Keep = Literal["none", "last", "best"]


@dataclass(frozen=True)
class Pack:
    """The trials of one job and where their data and logs lie.

    `code_root` is the user's own code: it goes behind everything else on the path. `keep` says
    which checkpoint outlives its trial; so many first failures as `patience` hold the rest of the
    submission if all of them are alike (0: never). `code` is the digest of all sources at the time
    of submission: what trials write into their folder is no code. With `usage` trials log what
    they take of their machine.
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
        return {
            "root": str(self.layout.root),
            "study": self.layout.study,
            "submission": self.submission,
            "number": self.number,
            "data_root": None if self.data_root is None else str(self.data_root),
            "download": self.download,
            "code_root": None if self.code_root is None else str(self.code_root),
            "checkpoint_every_s": self.checkpoint_every_s,
            "keep": self.keep,
            "patience": self.patience,
            "code": self.code,
            "usage": self.usage,
            "trials": [trial.to_json() for trial in self.trials],
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> "Pack":
        return Pack(
            layout=Layout(Path(record["root"]), record["study"]),
            submission=record["submission"],
            number=record["number"],
            trials=tuple(Trial.from_json(trial) for trial in record["trials"]),
            data_root=Path(record["data_root"]) if record["data_root"] else None,
            download=record["download"],
            code_root=Path(record["code_root"]) if record["code_root"] else None,
            checkpoint_every_s=record["checkpoint_every_s"],
            keep=record["keep"],
            patience=record["patience"],
            code=record["code"],
            usage=record.get("usage", False),
        )
