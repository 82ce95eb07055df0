"""Text in columns, for a terminal or a pipe: the one place where tables are laid out by hand.

`rich.table` is not used: it fits a table into the width of a console, pads to the last column and
rules over the gaps, so that what a pipe gets would depend on who reads it; and `plan`, `studies`
and `compare` answer on machines without the extra that brings it. The live view of `run` has it.
"""

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], gap: int = 2, right: Collection[int] = ()) -> str:
    """Return one line for each row, each column as wide as its widest cell, the last as it is.

    `right` are the numbers of columns whose cells are set to the right.
    """
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    lines = []
    for *cells, last in rows:
        padded = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append((" " * gap).join([*padded, last]).rstrip())
    return "\n".join(lines)
