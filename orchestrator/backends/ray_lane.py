"""A lane on Ray: an actor that runs packs one after another, on one import of torch.

Tune hands it the number of a pack. What comes of its trials goes into the event log and nowhere
else; Ray is told an exit code. The driver reads this as well, and is spared torch.
"""

from pathlib import Path
from typing import Any

from ray import tune


class Lane(tune.Trainable):  # type: ignore[misc]  # Ray's is of no type
    """Runs the pack that its configuration names, in one step; it is used again for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        from orchestrator.backends.ray_place import Place

        folder, here = Path(self._config["folder"]), Path(self._config["here"])
        place = Place(folder, self._config["pack"], here)
        if place.is_stopped():
            return {"exit_code": None, "done": True}
        return {"exit_code": place.run_all(self._config["ranks"]), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the trials do so themselves."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""
