"""Which files of the user's tree are code: those that a trial may import, run or open.

Sources and configuration are, by their suffix. Anything else is if the code names it, or the
command of the sweep does: notes, pictures and old results beside a script decide nothing. What is
named is found in the text; nothing is run.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

_PYTHON = ("py", "pyi", "pyx", "pxd")
_SHELLS = ("sh", "bash", "zsh", "fish")
_SOURCES = (
    *("r", "jl", "lua", "pl", "rb", "js", "mjs", "ts", "java", "scala", "go"),
    *(
        "rs",
        "swift",
        "c",
        "cc",
        "cpp",
        "cxx",
        "h",
        "hh",
        "hpp",
        "cu",
        "cuh",
        "f",
        "f90",
        "m",
        "sql",
    ),
)
_BINARIES = ("so", "pyd", "dll", "jar", "whl", "exe")
_SETTINGS = (
    *("yaml", "yml", "toml", "json", "jsonc", "json5", "jsonnet", "libsonnet", "ini", "cfg"),
    *("conf", "env", "gin", "properties", "j2", "jinja"),
)
_READ = frozenset((*_PYTHON, *_SHELLS, *_SOURCES, *_SETTINGS))
_UNQUOTED = frozenset((*_SHELLS, *_SETTINGS))  # in which a name may stand without quotes
_CODE = frozenset((*_READ, *_BINARIES))
# Named in comments and messages rather than opened: code only if the sweep names them.
_DOCUMENTS = frozenset(("md", "rst", "log", "ipynb"))
# Where loggers and Hydra write, of runs by hand as well.
_LOGS = frozenset(
    ("mlruns", "mlartifacts", "wandb", "lightning_logs", "tb_logs", ".hydra", "multirun")
)
_LARGEST_TEXT = 2**20
_PROGRAMS = (b"#!", b"\x7fELF")

_QUOTED = re.compile(r"""["']([^"'\n]{1,300})["']""")
_FIELD = re.compile(r"\{[^{}]*\}|%[sd]")


@dataclass(frozen=True)
class NamedFiles:
    """Texts of a sweep that name files: what its trainings are told, and `written` by them."""

    told: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Names:
    """The paths and patterns that texts name; `*` in them stands for anything, `?` as well."""

    names: frozenset[str]

    @cached_property
    def _patterns(self) -> list[list[str]]:
        """The patterns, as the texts between their wildcards."""
        wild = {re.sub(r"[*?]+", "*", name) for name in self.names if "*" in name or "?" in name}
        return [name.split("*") for name in sorted(wild)]

    def _has_text(self, text: str) -> bool:
        return text in self.names or any(_matches(parts, text) for parts in self._patterns)

    def has(self, path: PurePosixPath, by_path_alone: bool = False) -> bool:
        """Return True if a file is named: by path, by name, or by a folder that it lies in."""
        if self._has_text(str(path)):
            return True
        if by_path_alone:
            return False
        folders = (one for one in path.parents if one.name)
        return self._has_text(path.name) or any(
            str(one) in self.names or one.name in self.names for one in folders
        )


def find_code(root: Path, named: NamedFiles) -> Iterator[tuple[str, bytes]]:
    """Yield the relative path and the bytes of every file below a folder that is code, sorted."""
    written = _Names(frozenset(_FIELD.sub("*", text) for text in named.written))
    told = _Names(frozenset(_find_words(named.told)))
    code: dict[PurePosixPath, bytes] = {}
    others = []
    for file in (one for one in root.rglob("*") if one.is_file()):
        path = PurePosixPath(file.relative_to(root).as_posix())
        if _is_never_read(path):
            continue
        if written.has(path, by_path_alone=True):
            continue
        if told.has(path, _is_logged(path)):
            code[path] = file.read_bytes()
        elif _suffix(path) in _DOCUMENTS:
            continue
        elif _is_logged(path) or not _is_source(file):
            others.append((path, file))
        elif not _is_sweep(path, content := file.read_bytes()):
            code[path] = content
    texts = (
        _find_names(path, content) for path, content in code.items() if _suffix(path) in _READ
    )
    by_code = _Names(frozenset(name for names in texts for name in names))
    for path, file in others:
        if by_code.has(path, _is_logged(path)):
            code[path] = file.read_bytes()
    yield from sorted((str(path), content) for path, content in code.items())


def _is_never_read(path: PurePosixPath) -> bool:
    return "__pycache__" in path.parts or path.name.startswith("events.out.tfevents")


def _is_logged(path: PurePosixPath) -> bool:
    """Return True below a folder of a logger: code only if a path into it is named."""
    return not _LOGS.isdisjoint(path.parts)


def _suffix(path: PurePosixPath | Path) -> str:
    return path.suffix[1:].lower()


def _is_source(file: Path) -> bool:
    """Return True for sources, settings and programs, whatever names them."""
    if _suffix(file) in _CODE:
        return True
    with file.open("rb") as opened:
        return opened.read(4).startswith(_PROGRAMS)


def _is_sweep(path: PurePosixPath, content: bytes) -> bool:
    """Return True for a sweep file: another seed is not other code."""
    is_yaml = _suffix(path) in ("yaml", "yml")
    return is_yaml and (content.startswith(b"study:") or b"\nstudy:" in content)


def _find_names(path: PurePosixPath, content: bytes) -> Iterator[str]:
    """Yield what a source names: what is in quotes, and in a shell's or in settings all words."""
    text = content[:_LARGEST_TEXT].decode(errors="replace")
    yield from _find_paths(match[1] for match in _QUOTED.finditer(text))
    if _suffix(path) in _UNQUOTED:
        yield from _find_words([text])


def _find_words(texts: Iterable[str]) -> Iterator[str]:
    words = (word.strip("\"'") for text in texts for word in re.split(r"[\s=:,;()\[\]]+", text))
    return _find_paths(words)


def _find_paths(texts: Iterable[str]) -> Iterator[str]:
    """Yield the path that each text may be, and its last part; the unknown becomes `*`.

    A suffix alone stands for all files that have it.
    """
    for text in texts:
        path = _FIELD.sub("*", text).strip().removeprefix("./").rstrip("/")
        if re.fullmatch(r"\.\w+", path):
            path = f"*{path}"
        last = path.rpartition("/")[2]
        yield from (one for one in (path, last) if re.search(r"\w", one) and _is_told_apart(one))


def _is_told_apart(pattern: str) -> bool:
    """Return False for a pattern that hardly says more than `*`, such as a pointer's name."""
    parts = re.split(r"[*?]+", pattern)
    return len(parts) == 1 or max(map(len, parts)) > 1


def _matches(parts: list[str], text: str) -> bool:
    """Return True if a text has some parts in their order, the first and the last at its ends."""
    first, *middle, last = parts
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
