"""Jobs in SQLite or PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Callable

from service.jobs.database import Database
from service.jobs.notices import Notice, listen
from service.jobs.schema import upgrade
from service.jobs.sql.ending import Ending
from service.jobs.sql.keeping import Keeping
from service.jobs.sql.reading import Reading
from service.jobs.sql.running import Running
from service.jobs.sql.submitting import Submitting, saturated
from service.webhooks.outbox import Outbox

__all__ = ["SqlJobStore", "saturated"]

log = logging.getLogger(__name__)


class SqlJobStore(Submitting, Reading, Running, Ending, Keeping):
    """`JobStore` on SQLAlchemy: SQLite for one machine, PostgreSQL for several.

    Args:
        url: of SQLAlchemy, such as `sqlite:////var/lib/pellucid/pellucid.db` or `postgresql+psycopg://host/name`.

    Attributes:
        outbox: of the webhooks.
    """

    def __init__(self, url: str) -> None:
        super().__init__(Database(url))
        self.outbox = Outbox(self._database)

    def open(self) -> None:
        with self._database.write() as connection:
            change = upgrade(connection)
        log.info("%s", change)

    def close(self) -> None:
        self._database.close()

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        if not self._database.sqlite:
            await listen(self._database.url, heard)
