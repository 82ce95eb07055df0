"""What a run of a command leaves until its results are on disk: what it prints and writes.

<trial>.run/
  <name>/          of one run: an older one that still lives must not write into it
    work/          the folder that it runs in, if results are read from files
    store/         what its own MLflow logs
    output.jsonl   what it has printed, with the training time
  ended.json       once a run has ended well and its results could not be read
"""

import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_MOST_OUTPUT = 2**28  # characters; of more, nothing is kept

_log = logging.getLogger(__name__)


class KeptRun:
    """The latest run of one trial below `folder`, by code of the digest `code`; `name` is its own.

    It is that of the run which has ended well, or else of a new one, for which `begin` makes room.
    """

    def __init__(self, folder: Path, code: str | None) -> None:
        self._folder, self._code = folder, code
        self._output: IO[str] | None = None
        self._has_all = True
        ended = self._read_ended()
        self.has_ended = ended is not None
        self.name = uuid.uuid4().hex[:8] if ended is None else str(ended["name"])
        self.seconds = 0.0 if ended is None else float(ended["seconds"])

    @property
    def work(self) -> Path:
        return self._folder / self.name / "work"

    @property
    def store(self) -> Path:
        return self._folder / self.name / "store"

    @property
    def _output_path(self) -> Path:
        return self._folder / self.name / "output.jsonl"

    @property
    def _ended_path(self) -> Path:
        return self._folder / "ended.json"

    def begin(self) -> None:
        """Remove what earlier runs have left; there is room for the new one."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.store.mkdir(parents=True)

    def mark_ended(self, seconds: float) -> bool:
        """Say that the run has ended well, after `seconds` of training; False if not all is kept.

        A run of code that has no digest might be of any.
        """
        ended = {"code": self._code, "name": self.name, "seconds": seconds}
        if self._code is None or not self._has_all:
            return False
        try:
            self._ended_path.write_text(json.dumps(ended))
        except OSError:  # a full disk
            return False
        return True

    def open_output(self) -> None:
        """Begin to keep what is printed."""
        self._output = self._output_path.open("w")

    def append_output(self, data: bytes, seconds: float) -> None:
        """Keep what was printed after `seconds` of training."""
        if self._output is None:
            return
        text = data.decode(errors="surrogateescape")
        try:
            self._output.write(json.dumps([round(seconds, 3), text]) + "\n")
            self._has_all = self._output.tell() <= _MOST_OUTPUT
        except (OSError, ValueError) as error:
            _log.warning("what the command prints is no longer kept: %s", error)
            self._has_all = False
        if not self._has_all:
            self.close_output()
            self._output_path.unlink(missing_ok=True)

    def close_output(self) -> None:
        """Write what is left to disk."""
        if self._output is not None:
            with suppress(OSError):
                self._output.close()
            self._output = None

    def read_output(self) -> Iterator[tuple[bytes, float]]:
        """Yield what was printed, and the training time of it."""
        with suppress(FileNotFoundError), self._output_path.open() as lines:
            for line in lines:
                seconds, text = json.loads(line)
                yield text.encode(errors="surrogateescape"), seconds

    def _read_ended(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError, KeyError):
            ended: dict[str, Any] = json.loads(self._ended_path.read_text())
            if self._code is not None and ended["code"] == self._code and ended["name"]:
                return ended
        return None
