"""Parent and child runs: a child has the settings of its parent, if it has none of its own.

Sweeps and searches log what all of their trials share on a parent run, and the curves on its
children.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from tracking.foreign.run import ForeignRun, RunQuery

PARENT_FIELD = "tags.mlflow.parentRunId"


def inherit_settings(
    runs: Sequence[ForeignRun], chosen: Collection[str], query: RunQuery
) -> tuple[list[ForeignRun], list[str]]:
    """Return the runs chosen, by id, with what they lack of their parents' params, and notes.

    A chosen parent that has all fields and the metric is a run of its own, from which nothing is
    inherited; one that lacks the metric is left out.
    """
    by_id = {run.id: run for run in runs}
    picked = [run for run in runs if run.id in chosen]
    parents = {run.fields[PARENT_FIELD] for run in picked if PARENT_FIELD in run.fields}
    inherited: Counter[str] = Counter()
    left: list[ForeignRun] = []
    found: list[ForeignRun] = []
    for run in picked:
        if run.id in parents and query.curve_metric not in run.latest:
            left.append(run)
            continue
        fields = _fields(run, by_id, chosen, query)
        inherited.update(name for name in query.fields if name in fields.keys() - run.fields)
        found.append(replace(run, fields=fields) if len(fields) > len(run.fields) else run)
    notes = [
        f"{name} is that of the parent run for {count} of {len(found)} runs."
        for name, count in inherited.items()
    ]
    if left and found:
        notes.append(
            f"{len(left)} parent run{'s have' if len(left) > 1 else ' has'} no "
            f"{query.curve_metric}: the child runs are compared."
        )
    return (found or left), notes


def _fields(
    run: ForeignRun, by_id: Mapping[str, ForeignRun], chosen: Collection[str], query: RunQuery
) -> Mapping[str, str]:
    if all(name in run.fields for name in query.fields):
        return run.fields
    fields = dict(run.fields)
    for parent in _ancestors(run, by_id):
        own = query.curve_metric in parent.latest and parent.id in chosen
        if own and all(name in parent.fields for name in query.fields):
            break
        for name, value in parent.fields.items():
            if name.startswith("params.") or (name in query.fields and name != PARENT_FIELD):
                fields.setdefault(name, value)
    return fields


def _ancestors(run: ForeignRun, by_id: Mapping[str, ForeignRun]) -> Iterator[ForeignRun]:
    seen = {run.id}
    parent = by_id.get(run.fields.get(PARENT_FIELD, ""))
    while parent is not None and parent.id not in seen:
        seen.add(parent.id)
        yield parent
        parent = by_id.get(parent.fields.get(PARENT_FIELD, ""))
