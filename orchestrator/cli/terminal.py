"""What all verbs share: exit codes, opening the named study, output on stdout and stderr."""

import json
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from orchestrator.study.study import Study, default_root, open_study
from orchestrator.sweep.document import SweepError
from tracking.mlflow_store.store import mask_uri

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


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
    return study


def require_store(arguments: Namespace) -> None:
    """Raise SweepError if runs would go to an address that no store can have."""
    from tracking.mlflow_store.store import StoreError, require_address, resolve_uri

    try:
        require_address(resolve_uri(arguments.root or default_root(), arguments.mlflow))
    except StoreError as error:
        raise SweepError(str(error)) from error


def _name_site(site: str) -> str:
    """Return a site by a name that holds in any folder: a path is made absolute."""
    return str(Path(site).absolute()) if Path(site).is_file() else site


def print_result(said: str | dict[str, Any] | list[Any]) -> None:
    """Print a result on stdout; progress and advice go to stderr through `say`."""
    text = said if isinstance(said, str) else json.dumps(said, indent=2)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print progress or advice on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def format_command(verb: str, arguments: Namespace) -> str:
    """Return the command line of a verb for the same study, with the same options."""
    words = ["thermolion", verb, arguments.study]
    if arguments.root:
        words += ["--root", str(arguments.root)]
    for override in arguments.set:
        words += ["--set", override]
    for option in ("backend", "site", "address", "on"):
        value = getattr(arguments, option, None)
        if value is not None and verb in ("run", "submit", "retry", "plan"):
            words += [f"--{option}", value]
    if verb in ("collect", "ui") and getattr(arguments, "mlflow", None) is not None:
        words += ["--mlflow", mask_uri(arguments.mlflow)]
    if verb == "run":
        for option in ("data", "lanes", "mlflow"):
            value = getattr(arguments, option)
            shown = mask_uri(value) if option == "mlflow" and value is not None else value
            words += [f"--{option}", str(shown)] if value is not None else []
        words += ["--download"] if arguments.download else []
    return shlex.join(words)
