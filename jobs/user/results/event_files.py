"""Points in the event files of TensorBoard, read with the standard library alone.

A file is a sequence of records: length (8 bytes, little-endian), 4 bytes of checksum, the record,
4 bytes of checksum (TensorFlow's tfrecord). A record is a protocol buffer `Event`, in which a
scalar is `simple_value` (torch, Lightning) or a `tensor` of one element (TensorFlow 2, Keras); the
numbers of fields are those of tensorboard/compat/proto: event.proto, summary.proto, tensor.proto.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jobs.user.results.merger import ReadPoint, ResultsError
from jobs.user.results.source import Place, Source

PATTERN = "events.out.tfevents.*"
_LONGEST = 2**28  # bytes of a record: an image, at most
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_FLOAT, _DOUBLE = 1, 2  # DataType of tensor.proto


class Scalar(NamedTuple):
    """One scalar of an event file; `at` is where its record begins."""

    tag: str
    step: int
    value: float
    at: int


class EventSource(Source):
    """Reads the scalars of all event files below `base`; a tag is a metric.

    If several folders have a tag (Keras: `train/` and `validation/`), the metric of one is the tag
    behind the folder: `validation/epoch_loss`.
    """

    def __init__(self, base: Path, place: Place) -> None:
        self._base, self._place = base, place
        self._offsets: dict[Path, int] = {}
        self._tags: dict[str, None] = {}
        for path in self.files():  # of an earlier attempt, until it is over
            self._offsets[path] = path.stat().st_size

    def files(self) -> list[Path]:
        return sorted(self._base.rglob(PATTERN))

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        for path in self.files():
            begin = 0 if is_over else self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read()
            scalars, used = read_scalars(data, self._place.show(path))
            self._offsets[path] = begin + used
            for scalar in scalars:
                yield self._point(scalar, path, begin)

    def explain(self, metric: str) -> str:
        if not self.files():
            return f"there is no event file of TensorBoard below {self._place.show(self._base)}"
        return f"no event file of TensorBoard has {metric!r}, they have {', '.join(self._tags)}"

    def _point(self, scalar: Scalar, path: Path, begin: int) -> ReadPoint:
        self._tags[scalar.tag] = None
        # A metric that the sweep names by folder and tag is logged by that name.
        folder = path.parent.as_posix()
        named = (
            name
            for name in self._place.needed
            if name.endswith(f"/{scalar.tag}")
            and f"/{folder}".endswith(f"/{name.removesuffix(f'/{scalar.tag}')}")
        )
        values = {scalar.tag: scalar.value} | dict.fromkeys(named, scalar.value)
        origin = f"{self._place.show(path)}, byte {begin + scalar.at}"
        return ReadPoint(scalar.step, values, origin, series=(path.parent, scalar.tag))


def read_scalars(data: bytes, shown: str) -> tuple[list[Scalar], int]:
    """Return the scalars of whole records, and how many bytes these take; the rest is not written.

    Raises ResultsError for what is no event file.
    """
    scalars, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if length > _LONGEST:
            raise ResultsError(
                f"{shown} is no event file of TensorBoard, or damaged, at byte {at}"
            )
        end = at + 12 + length + 4
        if end > len(data):
            break
        try:
            scalars += [
                Scalar(tag, step, value, at)
                for tag, step, value in _event(data[at + 12 : end - 4])
            ]
        except (ValueError, IndexError, struct.error) as error:
            raise ResultsError(f"{shown} is damaged at byte {at}: {error}") from error
        at = end
    return scalars, at


def _event(record: bytes) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of every scalar of an event."""
    fields = list(_fields(record))
    step = next((field.value for field in fields if field.number == 2), 0)
    for summary in (field.content for field in fields if field.number == 5):
        for value in (field.content for field in _fields(summary) if field.number == 1):
            tag, scalar = "", None
            for field in _fields(value):
                if field.number == 1:
                    tag = field.content.decode()
                elif field.number == 2:
                    (scalar,) = struct.unpack("<f", field.content)
                elif field.number == 8:
                    scalar = _tensor(field.content)
            if scalar is not None:
                yield tag, step, scalar


def _tensor(record: bytes) -> float | None:
    """Return the element of a tensor of floats that has one; None for any other."""
    kind, contents = 0, b""
    for field in _fields(record):
        if field.number == 1:
            kind = field.value
        elif field.number in (4, 5, 6):  # tensor_content, float_val, double_val
            contents += field.content
    code = {_FLOAT: "<f", _DOUBLE: "<d"}.get(kind)
    if code is None or len(contents) != struct.calcsize(code):
        return None
    return float(struct.unpack(code, contents)[0])


class _Field(NamedTuple):
    """A field of a protocol buffer: a whole number is its `value`, anything else its `content`."""

    number: int
    value: int = 0
    content: bytes = b""


def _fields(record: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(record):
        key, at = _varint(record, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(record, at)
            yield _Field(key >> 3, value)
            continue
        if kind == _BYTES:
            length, at = _varint(record, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {kind}")
        if at + length > len(record):
            raise ValueError("a field that is longer than its record")
        yield _Field(key >> 3, content=record[at : at + length])
        at += length


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value - 2**64 if value >= 2**63 else value), at
        shift += 7
