"""Where the numbers of a report come from: trials, seeds, hosts, code, data, as tables and CSV.

Looks at outcomes alone; says nothing about who won.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from jobs.trial import STREAMS
from tracking.endpoints import UnmeasuredError, score
from tracking.outcomes import Outcome
from tracking.tables import Table
from tracking.wording import number

_COLUMNS = (
    "workload",
    "candidate",
    "block",
    "state",
    "final_test_accuracy_pct",
    "auc_pct",
    "train_seconds",
    "attempts",
    "nondeterministic",
    "trial",
    "host",
    "device",
    "code",
    *(f"seed_{stream}" for stream in STREAMS),
    "error",
)


def data_csv(outcomes: Iterable[Outcome]) -> str:
    """Return one row a trial, in full precision; empty cells where there is nothing yet."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for one in outcomes:
        trial = one.trial
        rows.writerow(
            [
                trial.workload.name,
                trial.candidate.name,
                trial.block,
                one.state,
                *_endpoints(one),
                "" if one.train_seconds is None else repr(one.train_seconds),
                one.attempts,
                int(one.nondeterministic),
                trial.id,
                *(one.job.get(key, "") for key in ("host", "device", "code")),
                *(trial.seeds.get(stream, "") for stream in STREAMS),
                one.error or "",
            ]
        )
    return text.getvalue()


def states(outcomes: Sequence[Outcome]) -> str:
    """Count the trials by state, in words."""
    counted = Counter(one.state for one in outcomes)
    return ", ".join(f"{n} {state}" for state, n in sorted(counted.items()))


def data(outcomes: Sequence[Outcome]) -> Table:
    """What each workload is: blocks, images, steps, chance, digest of the data."""
    rows = []
    for name, trials in _grouped(outcomes).items():
        workload = trials[0].trial.workload
        began = next((one.started for one in trials if one.started), {})
        images = began.get("images", {})
        chance = began.get("chance", {}).get("test_accuracy")
        digests = {one.started["digests"].get("data") for one in trials if _digests(one)}
        rows.append(
            (
                name,
                workload.dataset,
                workload.model,
                _ranges({one.trial.block for one in trials}),
                " / ".join(str(images.get(part, number(None))) for part in _PARTS),
                f"{workload.epochs} / {began.get('steps', number(None))}",
                number(None if chance is None else 100 * chance, 1),
                ", ".join(sorted(str(one) for one in digests if one)) or number(None),
            )
        )
    header = (
        "workload",
        "data set",
        "model",
        "blocks",
        "images: train / val / test",
        "epochs / steps",
        "chance, %",
        "data digest",
    )
    return Table("Workloads", header, tuple(rows))


def candidates(outcomes: Sequence[Outcome]) -> Table:
    """Every candidate with its optimizer and hyperparameters."""
    known = {one.trial.candidate.name: one.trial.candidate for one in outcomes}
    rows = tuple(
        (
            name,
            one.optimizer,
            ", ".join(f"{key} = {value}" for key, value in sorted(one.hyperparameters.items())),
        )
        for name, one in known.items()
    )
    return Table("Candidates", ("candidate", "optimizer", "hyperparameters"), rows)


def environments(outcomes: Sequence[Outcome]) -> Table:
    """Hosts, devices, code and packages, with the number of trials that each ran."""
    counted = Counter(
        (
            str(one.job.get("host", number(None))),
            str(one.job.get("device", number(None))),
            str(one.job.get("code", number(None))),
            ", ".join(f"{name} {v}" for name, v in sorted(one.job.get("packages", {}).items())),
        )
        for one in outcomes
        if one.job
    )
    rows = tuple((*environment, str(n)) for environment, n in sorted(counted.items()))
    return Table("Environments", ("host", "device", "code", "packages", "trials"), rows)


_PARTS = ("train", "validation", "test")


def _digests(outcome: Outcome) -> bool:
    return "digests" in outcome.started


def _grouped(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.trial.workload.name, []).append(one)
    return groups


def _endpoints(outcome: Outcome) -> tuple[str, str]:
    if not outcome.has_result:
        return "", ""
    try:
        found = score(outcome)
    except UnmeasuredError:
        return "", ""
    return repr(found.final_test_accuracy), repr(found.val_auc)


def _ranges(blocks: Iterable[int]) -> str:
    """Spell rising numbers shortly: 0-4, 7."""
    runs: list[list[int]] = []
    for block in sorted(blocks):
        if runs and block == runs[-1][-1] + 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
