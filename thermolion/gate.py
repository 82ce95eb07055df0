"""What a gate may be told under data parallelism: the settings, and which of them go together.

Standard library only, for planning; reduces nothing.
"""

from typing import Any, Literal, get_args

Gate = Literal["averaged", "replicas", "local"]
Feed = Literal["gate", "all"]

GATES: tuple[str, ...] = get_args(Gate)
# The options of ThermoLion that say it, in the order in which `check_gate` takes them.
GATE_OPTIONS = ("gate", "reference_batch", "replicas_feed")
FEEDS: tuple[str, ...] = get_args(Feed)


def check_gate(gate: Any, reference_batch: Any, replicas_feed: Any) -> None:
    """Raise ValueError for an unknown word, a batch that is none, and settings without effect."""
    for name, value, words in (("gate", gate, GATES), ("replicas_feed", replicas_feed, FEEDS)):
        if value not in words:
            raise ValueError(f"{name} is {value!r}, it must be one of {', '.join(words)}")
    whole = isinstance(reference_batch, int) and not isinstance(reference_batch, bool)
    if reference_batch is not None and not (whole and reference_batch > 0):
        raise ValueError(
            f"reference_batch is {reference_batch!r}, it must be a whole number of samples, 1 or "
            "more, or none for the share of one rank"
        )
    if gate == "replicas":
        return
    for name, value, default in (
        ("reference_batch", reference_batch, None),
        ("replicas_feed", replicas_feed, "gate"),
    ):
        if value != default:
            raise ValueError(
                f"{name} is {value!r}, but gate is {gate!r}: it has a meaning with "
                f"gate: replicas only, leave it out or set that"
            )
