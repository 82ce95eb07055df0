"""The key `results` of a command: where the results of a script are read that logs by itself."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from jobs.contract.workloads.catalog import check_known
from jobs.contract.workloads.result_sources import (
    LOGGERS,
    LinePattern,
    LoggerFiles,
    PrintedLines,
    ResultSource,
    RowFiles,
)

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_SHAPES = (
    "write {lines: 'epoch {epoch}: acc={val_accuracy}'}, {file: results.csv}, "
    f"{' or '.join(LOGGERS)}, or a list of these"
)
_KEYS: Mapping[str, tuple[str, ...]] = {
    "lines": ("lines", "final"),
    "final": ("lines", "final"),
    "file": ("file", "step"),
    **{logger: (logger,) for logger in LOGGERS},
}


def read_results(value: Any) -> tuple[ResultSource, ...]:
    """Return the sources of `results`; raises ValueError, with the choices, for anything else."""
    values = value if isinstance(value, list) else [value]
    sources = tuple(map(_read_source, values))
    if not sources:
        raise ValueError(f"results is empty: {_SHAPES}")
    if len(set(sources)) < len(sources):
        raise ValueError(f"{value!r} names one source twice")
    return sources


def _read_source(value: Any) -> ResultSource:
    if isinstance(value, str):
        if PurePath(value).suffix in SUFFIXES:
            raise ValueError(f"{value!r} is a file: write results: {{file: {value}}}")
        check_known(value, LOGGERS, "source of results")
        return LoggerFiles(value)  # type: ignore[arg-type]  # it is one of them
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{value!r} is no source of results: {_SHAPES}")
    kind = next((key for key in _KEYS if key in value), None)
    if kind is None:
        check_known(str(next(iter(value))), _KEYS, "source of results")
    assert kind is not None
    for key in value:
        check_known(str(key), _KEYS[kind], f"key of results from {kind}")
    if kind in ("lines", "final"):
        lines = PrintedLines(_patterns(value, "lines"), _patterns(value, "final"))
        lines.check()
        return lines
    path = _text(value, kind)
    if kind != "file":
        return LoggerFiles(kind, path)  # type: ignore[arg-type]  # of `_KEYS`, none else is left
    if PurePath(path).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"file is {path!r}: its suffix says how it is read, and must be one of "
            f"{', '.join(SUFFIXES)}"
        )
    return RowFiles(path, _text(value, "step") if "step" in value else None)


def _patterns(value: Mapping[str, Any], key: str) -> tuple[LinePattern, ...]:
    texts = value.get(key, [])
    texts = texts if isinstance(texts, list) else [texts]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{key} is {text!r}: write a pattern, such as 'acc={{val_accuracy}}'")
    return tuple(map(LinePattern, texts))


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str) or not text.strip():
        example = {"file": "results.csv", "step": "epoch"}.get(key, "runs/")
        raise ValueError(f"{key} is {text!r}: write a name, such as {key}: {example}")
    return text
