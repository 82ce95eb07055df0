"""What a submission asks of SLURM: its requests, and the limits under which they are sent.

Part of the submission's record, so that a job on a node can send the rest as well.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.layout import Layout
from slurm.chunks import Chunks
from slurm.resources import Request

ALLOCATION = "-job"  # after the id of a submission whose packs run within one job


@dataclass(frozen=True)
class Order:
    """One submission to SLURM.

    `concurrent` is the most jobs that may run at a time, `submit_cap` the most that a user may
    have in the queue, both None where there is no limit; `feeder` is None where jobs may not
    submit others, `after` the job that waits for the end of all others, None where nobody has to
    look after the study. A job has `lanes`; the queue is asked for every `status_every_s` at most.
    """

    layout: Layout
    submission: str
    packs: int
    user: str
    job: Request
    feeder: Request | None
    after: Request | None
    concurrent: int | None
    submit_cap: int | None
    lanes: int
    status_every_s: float

    @property
    def chunks(self) -> Chunks:
        return Chunks(self.layout, self.submission)

    @property
    def folder(self) -> Path:
        return self.layout.submission(self.submission)

    @property
    def scripts(self) -> Path:
        """Where the batch scripts that were sent stay."""
        return self.folder / "scripts"

    @property
    def feeder_name(self) -> str:
        """The name of the job that sends the rest."""
        return f"{self.layout.study}-{self.submission}-{self._token}-feed"

    @property
    def after_name(self) -> str:
        """The name of the job that looks after the study in the end; it has one at a time."""
        return f"{self.layout.study}-{self._token}-after"

    @property
    def _token(self) -> str:
        """What tells this study from others of its name: its first record, which says where."""
        first = min(self.layout.submissions.glob("*/submission.json"))
        return hashlib.sha256(first.read_bytes()).hexdigest()[:8]

    @property
    def feeder_log(self) -> Path:
        """What the job that sends the rest has printed, all of them one after another."""
        return self.folder / "feed.log"

    @property
    def waits(self) -> bool:
        """Whether something is to be sent, or to be found out about what was."""
        return bool(self.unsent()) or any(chunk.job is None for chunk in self.chunks.read())

    def unsent(self) -> range:
        """Return the packs that no chunk carries yet and that are still to be sent."""
        if self.chunks.is_over:
            return range(0)
        sent = self.chunks.read()
        return range(sent[-1].packs.stop if sent else 0, self.packs)

    @staticmethod
    def of(layout: Layout, record: Mapping[str, Any]) -> "Order":
        """Build an order from the record of a submission."""
        request = record["request"]
        feeder, after = request["feeder"], request.get("after")
        return Order(
            layout=layout,
            submission=record["id"],
            packs=record["packs"],
            user=record["user"],
            job=Request.from_json(request["job"]),
            feeder=None if feeder is None else Request.from_json(feeder),
            after=None if after is None else Request.from_json(after),
            concurrent=request["concurrent"],
            submit_cap=request["submit_cap"],
            lanes=request["lanes"],
            status_every_s=request["status_every_s"],
        )


def read_orders(layout: Layout) -> list[Order]:
    """Return the orders of a study, oldest first."""
    orders = []
    for path in sorted(layout.submissions.glob("*/submission.json")):
        record = json.loads(path.read_text())
        if record.get("backend") == "slurm":
            orders.append(Order.of(layout, record))
        elif (record.get("request") or {}).get("allocation"):
            orders.append(Order.of(layout, allocation(record)))
    return orders


def allocation(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a submission asks of SLURM that runs its packs within one job, as a record.

    That job is the only "pack" of it, and has a folder of its own beside the submission's.
    """
    changed = {"id": f"{record['id']}{ALLOCATION}", "packs": 1, "lanes": 1}
    return {**record, **changed, "request": record["request"]["allocation"]}
