"""What a run of a command leaves until its results are on disk: what it prints and writes.

<trial>.run/
  work/          the folder that it runs in, if results are read from files
  store/         what its own MLflow logs
  output.jsonl   what it has printed, with the training time
  ended.json     once it has ended well and its results could not be read
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_log = logging.getLogger(__name__)


class Kept:
    """The folder of the latest run of one trial, by code of the digest `code`."""

    def __init__(self, folder: Path, code: str | None) -> None:
        self.folder, self._code = folder, code
        self.work, self.store = folder / "work", folder / "store"
        self._output: IO[str] | None = None

    @property
    def seconds(self) -> float | None:
        """The training time of a run of this code that has ended well; None for any other."""
        with suppress(OSError, ValueError, KeyError):
            ended: Any = json.loads(self._ended.read_text())
            if self._code is not None and ended["code"] == self._code:
                return float(ended["seconds"])
        return None

    @property
    def _ended(self) -> Path:
        return self.folder / "ended.json"

    @property
    def _output_path(self) -> Path:
        return self.folder / "output.jsonl"

    def clear(self) -> None:
        """Remove everything: the next run begins."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def mark_ended(self, seconds: float) -> None:
        """Say that the run has ended well, after `seconds` of training."""
        with suppress(OSError):  # of a full disk: the next attempt trains again
            self.folder.mkdir(parents=True, exist_ok=True)
            self._ended.write_text(json.dumps({"code": self._code, "seconds": seconds}))

    def open_output(self) -> None:
        """Begin to keep what is printed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._output = self._output_path.open("w", buffering=1)

    def append_output(self, data: bytes, seconds: float) -> None:
        """Keep what was printed after `seconds` of training."""
        if self._output is None:
            return
        try:
            text = data.decode(errors="surrogateescape")
            self._output.write(json.dumps([round(seconds, 3), text]) + "\n")
        except (OSError, ValueError) as error:
            _log.warning("what the command prints is no longer kept: %s", error)
            self._output = None

    def close_output(self) -> None:
        """Write what is left to disk."""
        if self._output is not None:
            self._output.close()
            self._output = None

    def read_output(self) -> Iterator[tuple[bytes, float]]:
        """Yield what was printed, and the training time of it."""
        with suppress(FileNotFoundError), self._output_path.open() as lines:
            for line in lines:
                seconds, text = json.loads(line)
                yield text.encode(errors="surrogateescape"), seconds
