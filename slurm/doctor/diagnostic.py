"""A diagnostic of a site: what was looked at, if it works, and what to do about it."""

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warning", "will not work"]


@dataclass(frozen=True)
class Diagnostic:
    """One result of the doctor: `about` what, how bad, what was seen, and the next step if any."""

    about: str
    level: Level
    said: str
    step: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


def ok(about: str, said: str, step: str | None = None) -> Diagnostic:
    """Return a diagnostic of what works."""
    return Diagnostic(about, "ok", said, step)


def warning(about: str, said: str, step: str) -> Diagnostic:
    """Return a diagnostic of what works, but not as people expect."""
    return Diagnostic(about, "warning", said, step)


def fatal(about: str, said: str, step: str) -> Diagnostic:
    """Return a diagnostic of what will not work."""
    return Diagnostic(about, "will not work", said, step)
