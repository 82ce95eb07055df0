"""Settings that loggers write into a file beside their own: Lightning's `hparams.yaml`."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from tracking.foreign.run import RunSourceError

FILE = "hparams.yaml"


def read_hparams(folder: Path) -> Mapping[str, str]:
    """Return the settings of a folder as `params.NAME`, nested ones as `params.opt/lr`.

    None of them if there is no such file. Raises RunSourceError for one that is no YAML.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        # Objects that a logger has written as Python's own become None: they name no candidate.
        content = yaml.load(path.read_text(), _WithoutObjects)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where is not None else ""
        reason = str(getattr(error, "problem", None) or error)
        raise RunSourceError(f"{path}{line} cannot be read: {reason}") from error
    return dict(_flatten("params.", content)) if isinstance(content, dict) else {}


class _WithoutObjects(yaml.SafeLoader):
    """A loader that makes nothing but plain values."""


_WithoutObjects.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def _flatten(prefix: str, content: Mapping[str, object]) -> list[tuple[str, str]]:
    flat = []
    for name, value in content.items():
        if isinstance(value, dict):
            flat += _flatten(f"{prefix}{name}/", value)
        else:
            flat.append((f"{prefix}{name}", str(value)))
    return flat
