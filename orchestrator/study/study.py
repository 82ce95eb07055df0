"""A study: a sweep, the trials that it means, and the folder where they are recorded."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from orchestrator.study.decisions import read_decision
from orchestrator.study.kept_searches import keep_searches
from orchestrator.study.trials import plan_trials
from orchestrator.study.tuning_rounds import NO_TUNING, Tuning
from orchestrator.sweep.document import SweepError, choices
from orchestrator.sweep.sweep import Sweep, read_sweep
from slurm.site.site import Site

_STUDY = re.compile(r"""^(?:study|  "study")\s*:\s*["']?([\w.-]+)""", re.M)  # as `record` writes


@dataclass(frozen=True)
class Study:
    """Everything a verb starts from; opening one writes nothing.

    `site` is the one that its jobs are sent to; None: the one that its sweep or its user names.
    """

    sweep: Sweep
    layout: Layout
    site: Site | None = None
    _plans: dict[tuple[int, ...], tuple[Trial, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def name(self) -> str:
        """The name of the study, and of its folder."""
        return self.sweep.keys.study

    @property
    def tuning(self) -> Tuning:
        """The decisions on its tuning so far."""
        return NO_TUNING if self.sweep.keys.tune is None else Tuning.read(self.layout)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The plan by the decisions so far; ask once if it must not change meanwhile."""
        tuning = self.tuning
        decided = tuple(map(len, (tuning.widenings, tuning.winners, tuning.suggestions)))
        if decided not in self._plans:
            self._plans[decided] = plan_trials(self.sweep, tuning)
        return self._plans[decided]

    @property
    def ranks(self) -> list[int]:
        """The numbers of processes that train its trials, including trials still to be planned."""
        planned = {trial.world_size for trial in self.trials}
        return sorted(planned | {workload.ranks for workload in self.sweep.workloads})

    def recorded(self) -> "Study | None":
        """Return the study as its folder has it; None if there is none that can be read."""
        if not self.layout.sweep.is_file():
            return None
        try:
            return read_recorded(self.layout)
        except SweepError:
            return None  # of another version, or damaged: `record` replaces it

    def record(self) -> None:
        """Keep the sweep in the study's folder, so that the study's name is enough from now on."""
        document = self.sweep.document
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        text = document.text
        if document.overrides:
            # JSON is YAML, and no reader takes its strings for numbers.
            changes = json.dumps([document.path.name, *document.overrides.values()])
            text = f"# a sweep file with what --set changed: {changes}\n"
            text += json.dumps(document.data, indent=2) + "\n"
        if self.layout.sweep.exists() and self.layout.sweep.read_text(encoding="utf-8") == text:
            return
        write_atomically(self.layout.sweep, text)


def default_root() -> Path:
    """Return the folder in which studies live unless the user names another."""
    return Path(os.environ.get("THERMOLION_ROOT") or "studies")


def open_study(target: str, root: Path | None = None, overrides: Iterable[str] = ()) -> Study:
    """Open a sweep file or a recorded study by name; raises SweepError if it is neither."""
    root = (root or default_root()).absolute()
    path = Path(target)
    if not path.is_file():
        recorded = root / target / "sweep.yaml"
        if not recorded.is_file():
            if (root / "archive" / f"{target}.tar.gz").is_file():
                raise SweepError(
                    f"study {target!r} is archived: thermolion studies --restore {target} takes "
                    "it out again"
                )
            _check_unsent(target, root)
            names = sorted(file.parent.name for file in root.glob("*/sweep.yaml"))
            raise SweepError(
                f"{target!r} is neither a sweep file nor a study below {root}: "
                f"{choices(target, names)}"
            )
        path = recorded
    sweep = read_sweep(path, overrides)
    layout = Layout(root, sweep.keys.study)
    _check_not_renamed(path, layout)
    return Study(keep_searches(sweep, layout), layout)


def _check_not_renamed(path: Path, layout: Layout) -> None:
    """Raise SweepError if a folder of the root that has another name holds this study's records.

    `path` is the sweep file: that of a user, or the one in the folder of a study.
    """
    if (path.parent / "submissions").is_dir():
        recorded = [path] if path.parent.resolve().parent == layout.root.resolve() else []
    else:
        recorded = [] if layout.folder.exists() else sorted(layout.root.glob("*/sweep.yaml"))
        recorded = [one for one in recorded if _recorded_name(one) == layout.study]
    for one in recorded:
        name = _recorded_name(one)
        if name not in (None, one.parent.name) and (one.parent / "submissions").is_dir():
            raise SweepError(
                f"the folder {one.parent} holds the records of a study {name!r}, and a study is "
                f"found by the name of its folder: rename it back to {name}, or name both alike "
                f"by the key `study` of {one}, or move the folder out of {layout.root}"
            )


def _recorded_name(sweep: Path) -> str | None:
    """Return the name of the study that was recorded by a sweep file; None if it has none."""
    found = _STUDY.search(sweep.read_text(encoding="utf-8", errors="replace"))
    return found and found[1]


def _check_unsent(name: str, root: Path) -> None:
    """Raise SweepError if a study was counted as a confirmation, and then never written down."""
    for path in sorted(root.glob("*/decisions/confirmation-*.json")):
        first = path.parent.parent.name
        record = read_decision(Layout(root, first), path.stem)
        if record is not None and record["study"] == name:
            raise SweepError(
                f"there is no {root / name / 'sweep.yaml'}, and {name!r} is counted among the "
                f"attempts to confirm {first!r}: if it was interrupted when it was sent, "
                f"`thermolion run {first} --confirm {name}` goes on with it, on the same seeds"
            )


def read_recorded(layout: Layout) -> Study:
    """Return the study that a folder has; raises SweepError if its sweep cannot be read."""
    return Study(keep_searches(read_sweep(layout.sweep), layout), layout)
