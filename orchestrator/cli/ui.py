"""The verb `ui`: starts an MLflow server on the store, prints its link, and waits."""

import getpass
import os
import signal
import socket
import sys
import webbrowser
from argparse import Namespace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from orchestrator.cli.terminal import Exit, check_store, format_verb, load_study, print_result, say
from orchestrator.study.study import default_root

if TYPE_CHECKING:
    from tracking.mlflow_store.server import Pages, Server


def ui(arguments: Namespace) -> int:
    """Open MLflow on the page of a study, until Ctrl-C."""
    check_store(arguments)
    from tracking.mlflow_store.server import remote_pages, serve

    page = _page(arguments)
    there = remote_pages(_root(arguments), arguments.mlflow)
    if there is not None:
        _show(there, page, arguments)
        return Exit.DONE
    signal.signal(signal.SIGTERM, _stop)
    say("starting MLflow; this takes some seconds")
    with serve(
        _root(arguments), arguments.mlflow, arguments.port, not arguments.no_password
    ) as server:
        _show(server.pages, page, arguments)
        _describe_server(server)
        return _wait(server)


def _root(arguments: Namespace) -> Path:
    root: Path = arguments.root or default_root()
    return root.absolute()


def _page(arguments: Namespace) -> str:
    """Return the page of the study that is named, or the first one."""
    from tracking.mlflow_store.server import find_study_page

    if arguments.study is None:
        return ""
    study = load_study(arguments)
    page = find_study_page(_root(arguments), study.layout.study, arguments.mlflow)
    if page is None:
        say(f"nothing of it is in MLflow yet: {format_verb('collect', arguments)}")
    return page or ""


def _show(pages: "Pages", page: str, arguments: Namespace) -> None:
    link = pages.link(page)
    print_result(link)
    if not arguments.no_browser and _has_browser():
        webbrowser.open(link)


def _has_browser() -> bool:
    """Return True if the user of this terminal would see a browser opened here."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(shown)


def _describe_server(server: "Server") -> None:
    where = f"{getpass.getuser()}@{socket.getfqdn()}"
    say(
        "the link holds the password: whoever has it sees, and may change, what is in the store"
        if server.pages.token
        else "without a password: every user of this machine sees, and may change, what is there"
    )
    say(
        "from another machine, first there, then open the link: "
        f"ssh -N -L {server.port}:127.0.0.1:{server.port} {where}"
    )
    say("Ctrl-C ends it")


def _wait(server: "Server") -> int:
    try:
        status = server.wait()
    except KeyboardInterrupt:
        say("ended")
        return Exit.DONE
    say(f"MLflow ended by itself, with exit status {status}")
    return Exit.FAILED


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal wants it
    """Take SIGTERM as Ctrl-C: the server must not outlive us."""
    raise KeyboardInterrupt
