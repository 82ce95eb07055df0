"""What the path of a file or folder says of its run: `{optimizer}/seed{seed}`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from tracking.foreign.run import RunSourceError

_NAME = re.compile(r"\{(?P<name>[^{}]*)\}")


class PathPattern:
    """A path with fields in it; a field is as short as what stands around it allows, and no `/`.

    It is the end of the path of each run, from one folder on: `{optimizer}-s{seed}.csv` is that of
    `out/adamw-s0.csv` as well. Raises RunSourceError for a text without a field, or with one
    twice.
    """

    def __init__(self, text: str) -> None:
        names = [match["name"] for match in _NAME.finditer(text)]
        wrong = [name for name in names if not name.isidentifier()]
        if not names or wrong or len(set(names)) < len(names):
            why = f"{{{wrong[0]}}} is no name" if wrong else "each field stands there once"
            raise RunSourceError(
                f"--path {text!r} names no fields as {{optimizer}}/seed{{seed}} does: "
                f"{why if names else 'there is nothing in braces'}"
            )
        self.text, self.names = text, tuple(names)
        pieces = re.split(r"\{[^{}]*\}", text.strip("/"))
        fields = [f"(?P<{name}>[^/]+?)" for name in names]
        parts = [re.escape(pieces[0])]
        for field, piece in zip(fields, pieces[1:], strict=True):
            parts += [field, re.escape(piece)]
        self._regex = re.compile(f"(?:.*/)?{''.join(parts)}")

    def read(self, path: PurePath) -> Mapping[str, str] | None:
        """Return the fields of a path; None if it is another one."""
        match = self._regex.fullmatch(path.as_posix())
        return None if match is None else match.groupdict()

    def require_one(self, paths: Sequence[PurePath]) -> None:
        """Raise RunSourceError if not one of the paths is of this kind."""
        if not any(self.read(path) is not None for path in paths):
            shown = ", ".join(path.as_posix() for path in paths[:3])
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            raise RunSourceError(
                f"--path {self.text!r} is that of no run: there are {shown}{more}"
            )
