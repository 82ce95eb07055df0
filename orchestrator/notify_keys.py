"""The keys of a sweep that say who is told of a study, and of what."""

import shlex
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from orchestrator.durations import Duration
from orchestrator.validation import Strict

Occasion = Literal["done", "held", "failing"]
_MOST_S = 600.0


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no address of a webhook: write http://… or https://…")
    try:
        split = urlsplit(value)
        _ = split.port
    except ValueError as error:
        raise ValueError(f"{value!r} is no address of a webhook: {error}") from error
    if "@" in split.netloc:
        raise ValueError("a webhook takes no user and password: use `command`, with curl")
    return value


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no command: {error}") from error
    if not words:
        raise ValueError("the command is empty: name a program and its arguments")
    return value


def _timeout(value: float) -> float:
    if not 0 < value <= _MOST_S:
        raise ValueError(f"{value:.0f} s is too much or too little: up to 10min")
    return value


class NotifyKeys(Strict):
    """Who is told when a study is done, held or failing: a command, a webhook, or both."""

    command: Annotated[str, AfterValidator(_command)] | None = None
    url: Annotated[str, AfterValidator(_url)] | None = None
    on: Annotated[list[Occasion], Field(min_length=1)] = Field(default=list(get_args(Occasion)))
    timeout: Annotated[Duration, AfterValidator(_timeout)] = 15.0

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.command is None and self.url is None:
            raise ValueError("nobody is told: name a `command` or a `url`")
        return self


def as_keys(value: Any) -> Any:
    """Take a text for the address of a webhook where it looks like one, else for a command."""
    if not isinstance(value, str):
        return value
    return {"url" if value.startswith(("http://", "https://")) else "command": value}
