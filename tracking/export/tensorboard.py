"""A trial as TensorBoard's event file: the records of its writer, in memory.

TensorBoard's own EventFileWriter is not used: it names the file by the clock, the host and the
process, and writes the time at which it was opened, so that no second export would write the same
bytes. Writes scalars alone, which have 32 bits there; reads nothing.
"""

import io
from collections.abc import Mapping
from typing import Any

from tracking.outcomes import Outcome


def event_file(outcome: Outcome, started_ms: int) -> bytes:
    """Return the curve of a trial and its final metrics; equal outcomes give equal bytes.

    Raises ImportError if TensorBoard is not installed.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)

    def write(time_ms: int, **content: Any) -> None:
        event = Event(wall_time=time_ms / 1000, **content)
        writer.write(event.SerializeToString(deterministic=True))

    write(started_ms, file_version="brain.Event:2")
    for point in outcome.curve:
        values = dict(point.metrics) | {"train_seconds": point.train_seconds}
        write(point.time_ms, step=point.step, summary=_scalars(values))
    if outcome.metrics:
        last = outcome.curve[-1].step if outcome.curve else 0
        finals = {f"final/{name}": value for name, value in outcome.metrics.items()}
        write(outcome.ended_ms or started_ms, step=last, summary=_scalars(finals))
    return buffer.getvalue()


def _scalars(values: Mapping[str, float]) -> Any:
    """Return the values of one step, by tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])
