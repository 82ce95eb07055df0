"""The experiment of a study in a store: found, made, or taken out of the trash if asked to.

Knows nothing of its runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracking.browse import NOTE_TAG
from tracking.endpoints import final_metric
from tracking.keys import key
from tracking.outcomes import Outcome
from tracking.store import Store, StoreError
from tracking.summary import shortened

if TYPE_CHECKING:
    from mlflow.entities import Experiment

_PRIMARY = "mlflow.experiment.primaryMetric"
_MAX_NOTE = 20_000


def experiment_tags(outcomes: Sequence[Outcome], note: str | None) -> dict[str, str]:
    """Name what MLflow shows first: the final metric of the first workload that is planned."""
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if outcomes:
        workload = outcomes[0].trial.workload
        tags[f"{_PRIMARY}.name"] = key(final_metric(workload))
        tags[f"{_PRIMARY}.greaterIsBetter"] = str(workload.read_as.goal == "max")
    return tags | ({NOTE_TAG: shortened(note, _MAX_NOTE)} if note else {})


def bring_experiment(store: Store, study: str, tags: Mapping[str, str], restore: bool) -> str:
    """Find or make the experiment of a study, with these tags; return its id.

    Raises StoreError where it is in the trash, unless it is to be restored.
    """
    found: Experiment | None = store.client.get_experiment_by_name(study)
    if found is None:
        folder = None if store.artifacts is None else (store.artifacts / study).as_uri()
        made = store.client.create_experiment(study, artifact_location=folder, tags=dict(tags))
        return str(made)
    if found.lifecycle_stage == "deleted":
        if not restore:
            raise StoreError(_in_the_trash(store, study, str(found.experiment_id)))
        store.client.restore_experiment(found.experiment_id)
    for tag, value in tags.items():
        if found.tags.get(tag) != value:
            store.client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def owner(folder: Path) -> str:
    """Name whose study it is; who collects does not matter."""
    try:
        return folder.owner()
    except KeyError:  # a container that does not know the user's name
        return str(folder.stat().st_uid)


def _in_the_trash(store: Store, study: str, experiment_id: str) -> str:
    """Say what can be done: MLflow keeps the name of what was deleted there."""
    remove = f"mlflow gc --experiment-ids {experiment_id} --backend-store-uri {store.uri}"
    return (
        f"experiment {study!r} was deleted there, and its name is still taken. Bring it back with "
        f"all its runs: collect with --restore. Delete it for good, and have it made anew: "
        f"{remove}. Or name another store with --mlflow"
    )
