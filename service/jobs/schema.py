"""Brings a database to the schema of this version: makes it, upgrades it, or refuses one that a later version made."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, inspect, select, text

FOLDER = Path(__file__).with_name("migrations")
#: Of databases that were made before revisions were counted.
UNCOUNTED = "0001"
#: pg_advisory_xact_lock key under which servers that start together upgrade one by one.
UPGRADES = 0x70656C6D
#: A revision that cannot lock its tables within this time is given up. Whoever asks for a table after it waits in line
#: behind it, so waiting longer for one long transaction would stop the servers that are running.
LOCK_SECONDS = 10
#: Alembic keeps what is under way in module globals.
_one_at_a_time = threading.Lock()


class SchemaError(Exception):
    """The database cannot be used by this version."""


@dataclass(frozen=True)
class Change:
    """What `upgrade` did.

    Attributes:
        before: revision of the database as found; None for an empty one.
        after: revision as left: this version's.
    """

    before: str | None
    after: str

    def __str__(self) -> str:
        if self.before is None:
            return f"the database was empty; its tables were made, at revision {self.after}"
        if self.before == self.after:
            return f"the database is at revision {self.after}"
        return f"the database was upgraded from revision {self.before} to {self.after}"


def upgrade(connection: Connection) -> Change:
    """Bring a database to this version's revision, within the transaction of the connection.

    Args:
        connection: in a transaction that writes. It is all done when that is committed, and nothing when it is not:
            both databases roll back changes of the schema. On PostgreSQL others who call this wait meanwhile.

    Raises:
        SchemaError: a later version has upgraded the database.
        sqlalchemy.exc.OperationalError: a table could not be locked in time; try again.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADES)))
        connection.execute(text(f"SET LOCAL lock_timeout TO '{LOCK_SECONDS}s'"))
    with _one_at_a_time:
        config = _config(connection)
        script = ScriptDirectory.from_config(config)
        head = script.get_current_head()
        assert head is not None
        before = MigrationContext.configure(connection).get_current_revision()
        if before is None and inspect(connection).has_table("jobs"):
            before = UNCOUNTED
            command.stamp(config, before)
        known = {revision.revision for revision in script.walk_revisions()}
        if before is not None and before not in known:
            raise SchemaError(
                f"the database is at revision {before}, which a later version made; this version knows up to {head}: "
                "start the later version, or restore a backup from before the upgrade"
            )
        if before != head:
            command.upgrade(config, "head")
    return Change(before, head)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
