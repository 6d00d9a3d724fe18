"""Servers that share a PostgreSQL tell each other what they wrote, through LISTEN and NOTIFY.

Notices only spare time: they may be lost with a connection, and whoever waits looks into the store now and then too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, func, make_url, select

CHANNEL = "pellucid"
#: Seconds before a lost connection is opened again.
AGAIN_SECONDS = 1.0
_PENDING = "pellucid_notices"

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a notice says."""

    WORK = "work"  # a job was queued
    NEWS = "news"  # a job has a new event
    END = "end"  # a job has ended, and its webhook may be due
    STOP = "stop"  # a running job was asked to stop
    MISSED = "missed"  # notices may have been lost: never sent, but heard after a connection was lost


_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True)
class Notice:
    """One notice; `job_id` is "" for MISSED."""

    kind: Kind
    job_id: str


def collecting(connection: Connection) -> Connection:
    """Let `announce` collect notices on a connection."""
    return connection.execution_options(**{_PENDING: {}})


def announce(connection: Connection, kind: Kind, job_id: str) -> None:
    """Send a notice once the transaction is committed; without effect where notices are not collected."""
    pending: dict[str, None] | None = connection.get_execution_options().get(_PENDING)
    if pending is not None:
        pending[f"{kind} {job_id}"] = None


def send(connection: Connection) -> None:
    """Send what was announced, in the current transaction."""
    pending: dict[str, None] = connection.get_execution_options()[_PENDING]
    for payload in pending:
        connection.execute(select(func.pg_notify(CHANNEL, payload)))
    pending.clear()


def pending(connection: Connection) -> bool:
    """Whether something was announced and not sent."""
    return bool(connection.get_execution_options()[_PENDING])


async def listen(url: str, heard: Callable[[Notice], None]) -> None:
    """Pass on what any server of a PostgreSQL announces, this one's own too, until cancelled.

    Args:
        url: of SQLAlchemy.
        heard: called in the event loop.
    """
    import psycopg

    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                address, autocommit=True, keepalives_idle=30, keepalives_interval=10, keepalives_count=3
            )
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                heard(Notice(Kind.MISSED, ""))
                async with aclosing(connection.notifies()) as notices:
                    async for notice in notices:
                        kind, _, job_id = notice.payload.partition(" ")
                        if kind in _KINDS:  # a later version may say more
                            heard(Notice(Kind(kind), job_id))
        except psycopg.Error as error:
            log.warning("no notices from the database: %s; trying again in %g s", error, AGAIN_SECONDS)
        await asyncio.sleep(AGAIN_SECONDS)
