"""Notices to a command or a webhook that a study is done, held or failing: one for an occasion.

Sent by the first process that sees the occasion: `run`, `status`, or the job that looks after an
unattended study. Never fails a study, never waits longer than the sweep says.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_atomically, write_once
from orchestrator.progress.status import Status
from orchestrator.study.study import Study
from orchestrator.sweep.keys import NotifyKeys, Occasion

_MOST_SAID = 500  # characters of what went wrong


def send_notices(study: Study, status: Status) -> list[str]:
    """Send the notices that are due and not sent yet; return messages of what went wrong.

    An occasion is claimed by a file before its notice is sent, so that of several processes one
    sends it; the file says how that went.
    """
    notice = study.sweep.keys.notify
    if notice is None:
        return []
    wrong = []
    for occasion, about in _find_occasions(status):
        digest = hashlib.sha256("\n".join(sorted(about)).encode()).hexdigest()[:12]
        record = study.layout.folder / "notices" / f"{occasion}-{digest}.json"
        if occasion not in notice.on or record.exists():
            continue
        message = _make_message(study, status, occasion)
        if not _claim(record, message):
            continue
        errors = _send(notice, message)
        sent = json.dumps(message | {"told": not errors, "errors": errors}, indent=1)
        with contextlib.suppress(OSError):  # the disk is full: what was claimed stays so
            write_atomically(record, sent)
        wrong += [f"nobody was told that {message['study']} is {occasion}: {e}" for e in errors]
    return wrong


def _find_occasions(status: Status) -> Iterator[tuple[Occasion, list[str]]]:
    """Yield every occasion with the names that, if they change, make it another occasion."""
    if status.planned and status.done == len(status.wanted) and status.stage.is_settled:
        yield "done", list(status.planned)
    held = [s.hold.submission for s in status.left_alone if s.hold is not None]
    held += [trial.id for trial in status.stopped_by_others]
    if held:
        yield "held", held
    if status.held_at_cap is not None:
        yield "held", [trial.id for trial in status.missing]
    failed = [s for s in status.left_alone if s.hold is None]
    if failed:
        # A trial that fails again after a retry is news; one more of the same submission is not.
        yield "failing", sorted({s.outcome.job.get("submission", "") for s in failed})[-1:]


def _make_message(study: Study, status: Status, occasion: Occasion) -> dict[str, Any]:
    counted = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    return {
        "event": occasion,
        "study": study.name,
        "folder": str(study.layout.folder),
        "counts": status.counts,
        "text": f"{study.name} is {occasion}: {counted}",
        "time_ms": time.time_ns() // 1_000_000,
    }


def _claim(record: Path, message: dict[str, Any]) -> bool:
    try:
        record.parent.mkdir(exist_ok=True)
        return write_once(record, json.dumps(message | {"told": False, "errors": []}, indent=1))
    except OSError:
        return False  # the study of another user, whose own processes send the notices


def _send(notice: NotifyKeys, message: dict[str, Any]) -> list[str]:
    errors = []
    if notice.command is not None and (error := _run(notice.command, notice.timeout, message)):
        errors.append(f"{notice.command!r} {error}"[:_MOST_SAID])
    if notice.url is not None and (error := _post(notice.url, notice.timeout, message)):
        errors.append(f"{notice.url} {error}"[:_MOST_SAID])
    return errors


def _run(command: str, timeout_s: float, message: dict[str, Any]) -> str | None:
    """Run a command with the message on its standard input, and the main words in variables."""
    variables = {
        "THERMOLION_EVENT": message["event"],
        "THERMOLION_STUDY": message["study"],
        "THERMOLION_TEXT": message["text"],
    }
    try:
        done = subprocess.run(
            shlex.split(command),
            input=json.dumps(message),
            env=os.environ | variables,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"has not ended after {timeout_s:.0f} s"
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if done.returncode:
        return f"ended with exit code {done.returncode}: {done.stderr.strip()}"
    return None


def _post(url: str, timeout_s: float, message: dict[str, Any]) -> str | None:
    """Post the message as JSON; `text` is what chat rooms show."""
    request = urllib.request.Request(
        url, json.dumps(message).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return None
    except (http.client.HTTPException, OSError, ValueError) as error:
        return f"does not answer: {error}"
