"""What all verbs share: exit codes, opening the named study, output on stdout and stderr."""

import json
import shlex
import sys
from argparse import Namespace
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.results.confirm import confirm_study
from orchestrator.study.study import Study, default_root, open_study
from orchestrator.sweep.document import SweepError
from thermolion.errors import OperationError
from tracking.mlflow_store.store import StoreError, mask_uri, require_address, resolve_uri

_TRACKING_PACKAGES = ("jinja2", "matplotlib", "mlflow", "rich")
_PLACE = ("backend", "site", "address", "on")
# By verb: the options that are repeated when its command line is advised.
_REPEATED = {
    "run": (*_PLACE, "data", "lanes", "mlflow"),
    "retry": _PLACE,
    "collect": ("mlflow",),
    "ui": ("mlflow",),
}


class Exit(IntEnum):
    """The exit codes of all verbs."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130


def load_study(arguments: Namespace) -> Study:
    """Open the study that the command line names."""
    overrides = list(arguments.set)
    if getattr(arguments, "backend", None) is not None:
        overrides.append(f"backend={arguments.backend}")
    if getattr(arguments, "site", None) is not None:
        overrides.append(f"site={_name_site(arguments.site)}")
    where = [name for name in ("address", "on") if getattr(arguments, name, None) is not None]
    overrides += [f"ray.{name}={getattr(arguments, name)}" for name in where]
    study = open_study(arguments.study, arguments.root, overrides)
    if where and study.sweep.keys.backend != "ray":
        raise SweepError(
            f"--{where[0]} is for Ray, and the backend is {study.sweep.keys.backend}: "
            "add --backend ray"
        )
    name = getattr(arguments, "confirm", None)
    if name is not None:
        study = confirm_study(study, name)
        # From here on the command is about that study, which needs no more than its name.
        arguments.study, arguments.set, arguments.confirm = name, [], None
    return study


def check_store(arguments: Namespace) -> None:
    """Raise an error unless MLflow and the report's packages are installed and runs can be stored.

    OperationError if a package of the `tracking` extra is missing, SweepError if runs would go to
    an address that no store can have. Opens nothing.
    """
    missing = [name for name in _TRACKING_PACKAGES if find_spec(name) is None]
    if missing:
        raise OperationError(
            f"{', '.join(missing)} is not installed: pip install 'thermolion[tracking]', or use "
            "`submit` here and conclude on another machine"
        )
    try:
        require_address(resolve_uri(arguments.root or default_root(), arguments.mlflow))
    except StoreError as error:
        raise SweepError(str(error)) from error


def _name_site(site: str) -> str:
    """Return a site by a name that holds in any folder: a path is made absolute."""
    return str(Path(site).absolute()) if Path(site).is_file() else site


def print_result(result: str | dict[str, Any] | list[Any]) -> None:
    """Print a result on stdout; progress and advice go to stderr through `say`."""
    text = result if isinstance(result, str) else json.dumps(result, indent=2)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print progress or advice on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def format_verb(verb: str, arguments: Namespace) -> str:
    """Return the command line of a verb for the same study, with the same options."""
    words = ["thermolion", verb, arguments.study]
    if arguments.root:
        words += ["--root", str(arguments.root)]
    for override in arguments.set:
        words += ["--set", override]
    for option in _REPEATED.get(verb, ()):
        value = getattr(arguments, option, None)
        if value is not None:
            words += [f"--{option}", mask_uri(value) if option == "mlflow" else str(value)]
    if verb == "run" and arguments.download:
        words.append("--download")
    return shlex.join(words)
