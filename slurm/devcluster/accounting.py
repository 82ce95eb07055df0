"""The accounting of a development cluster: MariaDB, slurmdbd, one account and one user.

Without it there is no sacct, and no limit on what a user may submit.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jobs.contract.lock import user_name
from slurm.devcluster.config import ACCOUNT, DATABASE, Paths
from slurm.devcluster.daemons import DaemonError, Daemons, find_program

PACKAGES = {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"} | {
    "mariadb": "mariadb-client",
    "slurmdbd": "slurmdbd",
}


def start_database(daemons: Daemons, paths: Paths) -> None:
    """Start MariaDB on a socket that is this user's alone; its data is made on the first call."""
    paths.database.mkdir(mode=0o700, exist_ok=True)
    data, user = paths.database / "data", user_name()
    # One that starts removes from its folder the temporary tables of all others.
    temporary = {"TMPDIR": str(paths.database / "tmp")}
    Path(temporary["TMPDIR"]).mkdir(exist_ok=True)
    if not data.is_dir():
        # Made beside and moved: half a data folder would be taken for a whole one.
        draft = paths.database / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        install = [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={draft}"]
        install += [f"--user={user}", "--skip-test-db"]
        _run([*install, "--auth-root-authentication-method=normal"], temporary)
        draft.rename(data)
    command = [find_program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--user={user}"]
    command += [f"--socket={paths.database_socket}", f"--pid-file={data}/db.daemon"]
    command += ["--skip-networking", "--innodb-buffer-pool-size=64M"]
    daemons.start("mariadbd", [*command, "--innodb-lock-wait-timeout=900"], temporary)
    query = [find_program("mariadb"), "--no-defaults", f"--socket={paths.database_socket}"]
    query += ["--user=root", "--execute"]
    daemons.await_("mariadbd", lambda: _succeeds([*query, "select 1"]), seconds=60)
    _run([*query, f"create database if not exists {DATABASE}"])


def start_slurmdbd(daemons: Daemons, paths: Paths, environment: dict[str, str]) -> None:
    """Start slurmdbd and wait until it answers."""
    with_socket = environment | {"MYSQL_UNIX_PORT": str(paths.database_socket)}
    daemons.start("slurmdbd", [find_program("slurmdbd"), "-D"], with_socket)
    show = [find_program("sacctmgr"), "-n", "-P", "show", "cluster"]
    daemons.await_("slurmdbd", lambda: _succeeds(show, environment), seconds=90)


def register(environment: dict[str, str], submit_cap: int | None) -> None:
    """Add the cluster, an account and this user, and set how many jobs a user may have queued.

    Repeating it changes nothing.
    """
    manage = [find_program("sacctmgr"), "-i", "-Q"]
    user = user_name()
    show = [*manage, "-n", "-P", "show", "assoc", "format=cluster,account,user"]
    present = _call(show, environment).stdout
    for entity, mark in (
        (["cluster", "thermolion"], "thermolion|"),
        (["account", ACCOUNT, "cluster=thermolion"], f"thermolion|{ACCOUNT}|"),
        (["user", user, f"account={ACCOUNT}"], f"thermolion|{ACCOUNT}|{user}"),
    ):
        if mark not in present:
            _run([*manage, "add", *entity], environment)
    cap = -1 if submit_cap is None else submit_cap
    _run([*manage, "modify", "qos", "normal", "set", f"MaxSubmitJobsPerUser={cap}"], environment)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = _call(command, environment)
    output = done.stdout + done.stderr
    # sacctmgr answers 1 if there is nothing to change.
    if done.returncode != 0 and "Nothing" not in output:
        raise DaemonError(f"{' '.join(command)} failed ({done.returncode}): {output.strip()}")


def _succeeds(command: Sequence[str], environment: dict[str, str] | None = None) -> bool:
    return _call(command, environment).returncode == 0


def _call(
    command: Sequence[str], environment: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
