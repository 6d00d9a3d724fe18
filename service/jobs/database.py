"""The connection to SQLite or PostgreSQL: transactions that suit each, and whose clock counts."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from service.jobs import notices

#: Seconds a SQLite connection waits for another process that writes. Longer than any transaction here by far.
BUSY_SECONDS = 30.0
#: Connections: as many as the service has threads for the store.
POOL = 8
#: pg_advisory_xact_lock key under which submissions are counted against the limits one by one.
SUBMISSIONS = 0x70656C6C
_NOT_DURABLE = text("SET LOCAL synchronous_commit TO off")

log = logging.getLogger(__name__)


class Database:
    """Opens transactions on one database.

    SQLite runs in WAL mode; writers begin IMMEDIATE, so that none fails for having read first, and take turns inside
    the process, because SQLite's own waiting is by polling and starves the unlucky.

    Args:
        url: of SQLAlchemy, `sqlite:///file` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.url, self.sqlite = url, parsed.get_backend_name() == "sqlite"
        if not self.sqlite and (parsed.get_backend_name(), parsed.get_driver_name()) != ("postgresql", "psycopg"):
            raise ValueError(
                f"{parsed.render_as_string()}: jobs lie in SQLite (sqlite:///FILE) or PostgreSQL (postgresql+psycopg://"
                "HOST/NAME, with `pip install pellucid[postgres]`)"
            )
        self._turn = threading.Lock()
        arguments: dict[str, Any] = {}
        if self.sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError(f"{url}: jobs need a file, not memory")
            folder = Path(parsed.database).resolve().parent
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        self.engine = create_engine(parsed, pool_size=POOL, max_overflow=POOL, pool_pre_ping=not self.sqlite,
                                    connect_args=arguments)  # fmt: skip
        if self.sqlite:
            event.listen(self.engine, "connect", _prepare)
            event.listen(self.engine, "begin", _begin)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that writes; what it announces is sent to the other servers of a PostgreSQL.

        Args:
            durable: it must survive a power cut. Without, it survives the death of any process, and the disk is not
                waited for; PostgreSQL is asked likewise (synchronous_commit).
        """
        with self._turn if self.sqlite else nullcontext(), self.engine.connect() as connection:
            connection = connection.execution_options(pellucid_writes=True, pellucid_durable=durable)
            if self.sqlite:
                with connection.begin():
                    yield connection
                return
            connection = notices.collecting(connection)
            with connection.begin():
                if not durable:
                    connection.execute(_NOT_DURABLE)
                yield connection
                if not durable:
                    notices.send(connection)
            if notices.pending(connection):
                self._send_notices(connection)

    def _send_notices(self, connection: Connection) -> None:
        """In a transaction of their own: one that notifies holds a lock of the whole database while it is committed,
        and this one is committed without waiting for the disk."""
        try:
            with connection.begin():
                connection.execute(_NOT_DURABLE)
                notices.send(connection)
        except SQLAlchemyError as error:  # what was to be told is written, and will be found without the notice
            log.warning("other servers could not be told: %s", error)

    def now(self, connection: Connection) -> datetime:
        """The database's time: several servers share PostgreSQL's, and SQLite has one machine."""
        if self.sqlite:
            return datetime.now(UTC)
        moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)

    def serialise_submissions(self, connection: Connection) -> None:
        """Let no other submission count jobs until this transaction ends (SQLite's writers do so anyway)."""
        if not self.sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(SUBMISSIONS)))

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours; see _begin
    _use_wal(connection)
    for pragma in ("foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging, which stays with the file. Of several that open a new one at the same moment one is let in,
    and the others are refused at once: here SQLite does not wait, whatever its timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("pellucid_writes"):
        connection.exec_driver_sql("BEGIN")
        return
    synchronous = "FULL" if options["pellucid_durable"] else "NORMAL"
    if connection.info.get("pellucid_synchronous") != synchronous:  # of the connection, until it is told otherwise
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
        connection.info["pellucid_synchronous"] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE")
