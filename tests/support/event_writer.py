"""Writes event files of TensorBoard with its own writer."""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util


def written(folder: Path, values: list[tuple[int, str, float]], as_tensor: bool = False) -> Path:
    """Write step, tag and value of scalars; return the file."""
    writer = EventFileWriter(str(folder))
    for step, tag, value in values:
        scalar = (
            Summary.Value(tag=tag, tensor=tensor_util.make_tensor_proto([value], dtype="float32"))
            if as_tensor
            else Summary.Value(tag=tag, simple_value=value)
        )
        writer.add_event(Event(wall_time=1.5, step=step, summary=Summary(value=[scalar])))
    writer.close()
    (path,) = folder.glob("events.*")
    return path
