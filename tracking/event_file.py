"""TensorBoard's event file, written byte by byte: records with checksums, a message in each.

Knows scalars alone, which are 32 bits wide there. Needs neither TensorBoard nor TensorFlow, so
that a study can be exported where neither is installed; reads nothing.
"""

import struct
from collections.abc import Iterator, Mapping

_VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed: RFC 3720, appendix B.4
_MASK = 0xA282EAD8  # checksums are rotated and shifted by this: TensorFlow, core/lib/hash/crc32c.h
_WORD = 0xFFFFFFFF

# Of protocol buffers: (number of the field << 3) | kind; 0 varint, 1 eight bytes, 2 a length and
# so many bytes, 5 four bytes. The numbers are those of event.proto and summary.proto.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1 << 3 | 1, 2 << 3, 3 << 3 | 2, 5 << 3 | 2
_VALUE, _TAG, _SIMPLE_VALUE = 1 << 3 | 2, 1 << 3 | 2, 2 << 3 | 5


def file_head(time_s: float) -> bytes:
    """Return what an event file begins with; `time_s` is seconds since the epoch."""
    return _record(_begun(time_s) + _counted(_FILE_VERSION, _VERSION))


def scalars(time_s: float, step: int, values: Mapping[str, float]) -> bytes:
    """Return the record of all values of one step, by tag."""
    summary = b"".join(
        _counted(
            _VALUE,
            _counted(_TAG, tag.encode()) + bytes([_SIMPLE_VALUE]) + _single(value),
        )
        for tag, value in values.items()
    )
    steps = bytes([_STEP]) + _varint(step)
    return _record(_begun(time_s) + steps + _counted(_SUMMARY, summary))


def checksum(data: bytes) -> int:
    """Return the CRC-32C of `data`."""
    crc = _WORD
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _WORD


def _record(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    return length + _masked(length) + message + _masked(message)


def _masked(data: bytes) -> bytes:
    crc = checksum(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & _WORD)


def _begun(time_s: float) -> bytes:
    return bytes([_WALL_TIME]) + struct.pack("<d", time_s)


def _counted(field: int, data: bytes) -> bytes:
    return bytes([field]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # larger than 32 bits can say
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _table() -> Iterator[int]:
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        yield crc


_TABLE = tuple(_table())
