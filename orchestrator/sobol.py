"""Points that fill a cube evenly: Sobol's sequence, shifted at random by a seed of the study.

Of integers alone, and our own rather than a library's: ids of trials are made from these points,
so they must be the same on every machine and with every version of everything.
"""

import hashlib
from collections.abc import Sequence

BITS = 32

# Joe and Kuo (2008), new-joe-kuo-6: by dimension from the second on, the coefficients of a
# primitive polynomial (its degree is the number of the m), and the first m.
_DIRECTIONS: Sequence[tuple[int, tuple[int, ...]]] = (
    (0, (1,)),
    (1, (1, 3)),
    (1, (1, 3, 1)),
    (2, (1, 1, 1)),
    (1, (1, 1, 3, 3)),
    (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)),
    (4, (1, 1, 5, 5, 5)),
    (7, (1, 1, 7, 11, 19)),
)
MOST_DIMENSIONS = len(_DIRECTIONS) + 1


def point(number: int, dimensions: int, seed: int | None) -> tuple[float, ...]:
    """Return point `number`, from 0, in [0, 1)^dimensions; `seed` None leaves out the shift.

    A digital shift (each coordinate xor a constant) keeps what makes the sequence even, and the
    corner out of it. Point k is the same however many are asked for, and so are its first
    coordinates. At most `MOST_DIMENSIONS` of them.
    """
    gray = number ^ (number >> 1)
    return tuple(
        (_coordinate(gray, dimension) ^ _shift(seed, dimension)) / 2**BITS
        for dimension in range(dimensions)
    )


def _coordinate(gray: int, dimension: int) -> int:
    found = 0
    for bit, direction in enumerate(_directions(dimension, gray.bit_length())):
        if gray >> bit & 1:
            found ^= direction
    return found


def _directions(dimension: int, count: int) -> list[int]:
    """Return the first direction numbers of a dimension, each with its bits at the top."""
    if dimension == 0:
        return [1 << (BITS - 1 - bit) for bit in range(count)]
    polynomial, first = _DIRECTIONS[dimension - 1]
    degree = len(first)
    m = list(first)
    for bit in range(degree, count):
        new = m[bit - degree] ^ (m[bit - degree] << degree)
        for term in range(1, degree):
            if polynomial >> (degree - 1 - term) & 1:
                new ^= m[bit - term] << term
        m.append(new)
    return [m[bit] << (BITS - 1 - bit) for bit in range(count)]


def _shift(seed: int | None, dimension: int) -> int:
    if seed is None:
        return 0
    told = f"sobol/{seed}/{dimension}".encode()
    return int.from_bytes(hashlib.sha256(told).digest()[: BITS // 8], "big")
