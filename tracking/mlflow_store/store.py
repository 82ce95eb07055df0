"""The MLflow store: finds, makes, opens and searches it.

Writes no runs and shows none. MLflow itself is imported when a store is opened.
"""

import contextlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobs.contract.atomic_write import open_atomically
from thermolion.errors import OperationError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000  # runs, the most that one request gives
_SQLITE = "sqlite:///"
_LOCAL_FILESYSTEMS = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
_MAX_REASON = 400
ADDRESSES = (
    "sqlite:////FOLDER/mlflow.db, http://HOST:PORT, https://HOST, "
    "postgresql://USER:PASSWORD@HOST/DATABASE, mysql://…, mssql://…"
)
_SCHEMES = {"databricks", "http", "https", "mssql", "mysql", "postgresql", "sqlite"}
# Where a password stands. That of a database may hold anything: the last @ ends it.
_WEB_LOGIN = re.compile(r"^https?://[^:/?#@]*(?P<secret>:[^/?#]+@)")
_LOGIN = re.compile(r"^[^:/?#]+://[^:/?#@]*(?P<secret>:.+@)")
_QUERY = re.compile(r"[?&](?P<secret>password=[^&]+)")
_SCHEMA = re.compile(r"found version (?P<version>\w+), but expected (?P<wanted>\w+)")

_CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Seconds. MLflow's own 120, seven times, would hold a user for a quarter of an hour.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Creating a run is not idempotent: a request sent again after a lost answer makes two.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Spares ten processes, and jobs that anybody who reaches the port could start.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class StoreError(OperationError):
    """A store that cannot be opened, with what to do about it."""


@dataclass(frozen=True)
class Store:
    """An open store; `uri` has no password in it, and is what messages name.

    `artifacts` is the folder of new experiments; None if the server has its own.
    """

    client: "MlflowClient"
    uri: str
    artifacts: Path | None
    database: Path | None
    address: str = field(repr=False)  # with its password

    def first_line(self, error: Exception) -> str:
        """Return the first line of a message, without the password of this store."""
        return first_line(error, self.address)

    def analyse(self) -> None:
        """Refresh the statistics of an embedded store: makes browsing 20 times quicker."""
        if self.database is None:
            return
        with (
            contextlib.closing(sqlite3.connect(self.database)) as connection,
            # Another study may be writing: it will do this itself.
            contextlib.suppress(sqlite3.OperationalError),
            connection,  # commits
        ):
            connection.execute("ANALYZE")


def search_runs(
    client: "MlflowClient",
    experiment_id: str,
    condition: str,
    order_by: list[str] | None = None,
    deleted: bool = False,
) -> Iterator["Run"]:
    """Yield the runs of an experiment, page by page; `condition` is an MLflow filter.

    `deleted`: those in the trash, instead of the others.
    """
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string=condition,
            run_view_type=view,
            max_results=_PAGE,
            order_by=order_by,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def resolve_uri(root: Path, uri: str | None = None) -> str:
    """Return where runs go: `uri`, else MLFLOW_TRACKING_URI, else the root's own store."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(root / "mlflow.db")


def sqlite_uri(database: Path) -> str:
    """Return the address by which SQLAlchemy opens a file, whatever its name has in it."""
    path = str(database.resolve())
    if _decodes_paths(path):
        path = path.replace("%", "%25").replace("?", "%3F")
    return f"{_SQLITE}{path}"


def _decodes_paths(path: str) -> bool:
    """Return True if %25 in an address is a per cent sign: SQLAlchemy does so from 2.1 on."""
    if not set("%?") & set(path):
        return False  # it makes no difference, and the import takes a while
    try:
        from sqlalchemy.engine import make_url
    except ImportError:
        return True  # no store can be opened here
    return make_url(f"{_SQLITE}/%25").database == "/%"


def mask_uri(uri: str) -> str:
    """Return the URI with its passwords replaced by stars."""
    return _mask(uri, uri)


def first_line(error: Exception, uri: str) -> str:
    """Return the first line of a message, short, and without the password of the store."""
    return _mask(str(error).partition("\n")[0], uri)[:_MAX_REASON]


def _mask(text: str, uri: str) -> str:
    login = _WEB_LOGIN if uri.startswith(("http:", "https:")) else _LOGIN
    for password, stars in ((login, ":***@"), (_QUERY, "password=***")):
        if match := password.search(uri):
            text = text.replace(match["secret"], stars)
    return text


@contextlib.contextmanager
def open_store(
    root: Path, uri: str | None = None, to_write: bool = False, is_foreign: bool = False
) -> Iterator[Store]:
    """Open the store of a root, made ready if it is embedded; raises StoreError.

    Nothing is sent to a server yet. One that is foreign is somebody else's: its file stays as it
    is.
    """
    address = resolve_uri(root, uri)
    database = database_of(address)
    if to_write and database is not None:
        _require_writable(database)
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_stray_folder(address))
        stack.enter_context(set_meanwhile(_CLIENT_ENVIRONMENT))
        try:
            client = _client(address, database)
            if database is not None:
                stack.enter_context(_hold_open(database, set_journal=not is_foreign))
            stack.callback(_close_connections, client)
        except ImportError as error:
            raise StoreError(
                f"{error}: install what collecting needs (pip install 'thermolion[tracking]', "
                "and the driver of the database if yours is not sqlite)"
            ) from error
        except Exception as error:  # a foreign library: its ways to fail cannot be listed
            reason = _explain(error, address)
            raise StoreError(f"cannot open MLflow at {mask_uri(address)}: {reason}") from error
        artifacts = None if database is None else database.parent / "mlartifacts"
        yield Store(client, mask_uri(address), artifacts, database, address)


def journal_mode(database: Path, mounts: str | None = None) -> str:
    """Return the journal that suits the filesystem of a sqlite file: WAL on local ones alone.

    A write-ahead log needs memory that all its users share, which no network mount gives.
    `mounts` is the text of /proc/mounts.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text()
        except OSError:
            mounts = ""
    folder, kind, longest = database.parent.resolve(), "", -1
    for line in mounts.splitlines():
        _, point, this_kind, *_ = line.split()
        # Spaces and the like are written in octal.
        mount = Path(point.encode("latin-1", "replace").decode("unicode_escape"))
        if folder.is_relative_to(mount) and len(mount.parts) >= longest:
            kind, longest = this_kind, len(mount.parts)
    return "WAL" if kind in _LOCAL_FILESYSTEMS else "DELETE"


def _explain(error: Exception, uri: str) -> str:
    """Say why a store did not open, and what to do, which MLflow's message may not say."""
    if not _is_address(uri):
        return f"{first_line(error, uri)}\nAn address is one of {ADDRESSES}"
    match = _SCHEMA.search(str(error))
    if match is None:
        return first_line(error, uri)
    from mlflow import __version__, store

    steps = Path(next(iter(store.__path__))) / "db_migrations" / "versions"
    if any(steps.glob(f"{match['version']}_*.py")):
        return (
            f"it is of an older MLflow (schema {match['version']}, {__version__} has "
            f"{match['wanted']}). Keep a copy of it, then: mlflow db upgrade {mask_uri(uri)}"
        )
    return (
        f"it is of a newer MLflow (schema {match['version']}, which {__version__} does not know). "
        "Collect with the version that made it (pip install --upgrade mlflow), or name another "
        "store with --mlflow"
    )


def require_address(uri: str) -> None:
    """Raise StoreError for an address that no store can have; opens nothing."""
    if not _is_address(uri):
        raise StoreError(
            f"{mask_uri(uri)!r} is no address of an MLflow store: use one of {ADDRESSES} "
            "(--mlflow, or MLFLOW_TRACKING_URI)"
        )
    database_of(uri)


def _is_address(uri: str) -> bool:
    scheme = uri.partition(":")[0].partition("+")[0]
    return scheme in _SCHEMES and (scheme != "sqlite" or uri.startswith(_SQLITE))


def _require_writable(database: Path) -> None:
    """Raise StoreError if an embedded store belongs to somebody who lets nobody write."""
    # The folder as well: a journal lies beside the file while it is written.
    for path in (database, database.parent):
        if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
            raise StoreError(
                f"{path} may not be written by you: let {owner_of(path)}, who owns it, "
                "collect, or make it writable for your group, or name a store of your own "
                "with --mlflow"
            )


def owner_of(path: Path) -> str:
    """Return the name of the user whose file it is, or the number of one without a name."""
    try:
        return path.owner()
    except KeyError:  # a container that does not know the user's name
        return str(path.stat().st_uid)


def database_of(uri: str) -> Path | None:
    """Return the file of a sqlite URI; None for any other.

    Raises StoreError for one that has options after its path.
    """
    if not uri.startswith(_SQLITE):
        return None
    path, question, _ = uri.removeprefix(_SQLITE).partition("?")
    if question:
        raise StoreError(
            f"{uri} has a question mark, which ends a path in such an address: write %3F for it, "
            "or move the studies to a folder without one, or name another store with --mlflow"
        )
    return Path(unquote(path) if _decodes_paths(path) else path).absolute()


def _client(uri: str, database: Path | None) -> "MlflowClient":
    with warnings.catch_warnings():
        # MLflow 3.17 with SQLAlchemy 2.1; nothing that a user of ours could do about it.
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        if database is not None and not database.exists():
            _initialise(database)
        return MlflowClient(tracking_uri=uri)


def _initialise(database: Path) -> None:
    """Make the schema in a draft, then link it into place: nobody ever opens half a store.

    Processes that open a store which does not exist yet would break it for good.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.suppress(FileExistsError),  # another was quicker: its store is as good
        open_atomically(database, replace=False) as draft,
    ):
        # As MlflowClient does, but for the folder of artifacts: it writes that of the current
        # folder into its SQL, where a quotation mark ends a text.
        artifacts = (database.parent / "mlartifacts").as_uri()
        make: Callable[[str, str], Any] = SqlAlchemyStore  # MLflow gives it no types
        make(sqlite_uri(Path(draft.name)), artifacts).search_experiments()


def _close_connections(client: "MlflowClient") -> None:
    """Close the connections that MLflow keeps for the next time.

    They would go on writing into a file that the user has deleted meanwhile.
    """
    engine = getattr(client._tracking_client.store, "engine", None)
    if engine is not None:
        engine.dispose()


@contextlib.contextmanager
def without_stray_folder(uri: str) -> Iterator[None]:
    """Remove the folder that MLflow makes for a file whose address is not its path as it is."""
    database = database_of(uri)
    written = Path(uri.removeprefix(_SQLITE)).parent
    if database is None or written == database.parent:
        yield
        return
    missing = [folder for folder in (written, *written.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def set_meanwhile(variables: Mapping[str, str]) -> Iterator[None]:
    """Set those variables of the environment that are not set, and take them back at the end.

    MLflow's client reads them at each request. Trainings that this process starts have MLflow of
    their own, to which they would say the same.
    """
    missing = variables.keys() - os.environ.keys()
    os.environ.update({name: variables[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _hold_open(database: Path, set_journal: bool) -> Iterator[None]:
    """Set the journal, and keep a connection: sqlite empties the log when the last one closes."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # If somebody is writing, the mode stays what it is until the next time.
        with contextlib.suppress(sqlite3.OperationalError):
            if set_journal:
                connection.execute(f"PRAGMA journal_mode={journal_mode(database)}").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
