"""The schema's history: from every revision, the first one on, a database with jobs in it comes to today's schema."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.jobs import schema
from service.jobs.database import Database
from service.jobs.model import JobState, NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.tables import metadata

REVISIONS = [revision.revision for revision in ScriptDirectory(str(schema.FOLDER)).walk_revisions()][::-1]
HEAD = REVISIONS[-1]

#: As the first version wrote them.
ROWS = [
    "INSERT INTO jobs (id, owner, state, priority, fingerprint, spec, attempt, crashes, fence, cancel_requested,"
    " created_at, step, steps, device, last_event) VALUES ('0190b1c0-0000-7000-8000-000000000001', 'me', 'queued', 0,"
    ' \'f\', \'{"task": "denoise", "parameters": {"noise": 25}, "inputs": {"image": "input/a"}, "owner": "me",'
    ' "prior": null, "priority": "interactive", "output": {"format": null, "quality": null, "keep_gps": false},'
    ' "width": 1, "height": 1, "format": "png", "previews": true, "webhook": null, "request_id": "",'
    ' "idempotency_key": null, "fingerprint": "f"}\', 0, 0, 0, false, \'2026-07-01 12:00:00.000000\', 0, 0, \'\', 1)',
    "INSERT INTO events (job_id, id, type, data, created_at) VALUES ('0190b1c0-0000-7000-8000-000000000001', 1,"
    " 'queued', '{\"position\": 0}', '2026-07-01 12:00:00.000000')",
]


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    database = Database(url)
    with database.write() as connection:
        yield connection
    database.close()


def make(url: str, revision: str) -> None:
    """A database as the version of a revision left it, with a queued job."""
    with writing(url) as connection:
        command.upgrade(schema._config(connection), revision)
        for row in ROWS:
            connection.execute(text(row.replace(":", "\\:")))


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_job_survives_the_upgrade_from_every_revision(url: str, revision: str) -> None:
    make(url, revision)
    store = SqlJobStore(url)
    store.open()
    (job,) = store.claim("w", 30, 1)
    assert (job.spec.task, job.spec.parameters, job.spec.owner) == ("denoise", {"noise": 25}, "me")
    assert job.created_at.isoformat() == "2026-07-01T12:00:00+00:00"
    store.started(job.id, 1, "cpu", 1)
    store.show(job.id, 1, {"b64": "AAAA"})
    assert [event.type for event in store.events(job.id)] == ["queued", "started", "preview"]
    store.close()


@pytest.mark.parametrize("revision", [None, *REVISIONS])
def test_the_schema_is_that_of_the_tables_whatever_it_came_from(url: str, revision: str | None) -> None:
    if revision is not None:
        make(url, revision)
    with writing(url) as connection:
        change = schema.upgrade(connection)
        assert (change.before, change.after) == (revision, HEAD)
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "target_metadata": metadata, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_a_database_from_before_revisions_were_counted_is_taken_for_the_first(url: str) -> None:
    make(url, "0001")
    with writing(url) as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with writing(url) as connection:
        assert schema.upgrade(connection) == schema.Change("0001", HEAD)
        assert inspect(connection).has_table("previews")


def test_a_database_of_a_later_version_is_refused_and_left_alone(url: str) -> None:
    with writing(url) as connection:
        schema.upgrade(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store = SqlJobStore(url)
    with pytest.raises(schema.SchemaError, match="revision 9999, which a later version made"):
        store.open()
    with writing(url) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    store.close()


def test_an_upgrade_that_fails_leaves_nothing_half_done(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(url, "0001")

    def broken(config: object, revision: str) -> None:
        command.upgrade(config, revision)  # type: ignore[arg-type]
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "command", type("command", (), {"upgrade": staticmethod(broken)}))
    store = SqlJobStore(url)
    with pytest.raises(RuntimeError, match="power cut"):
        store.open()
    with writing(url) as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0001"
        assert not inspect(connection).has_table("previews")
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 1
    store.close()


@pytest.mark.parametrize("revision", [None, "0001"])
def test_servers_that_start_together_upgrade_once(url: str, revision: str | None) -> None:
    if revision is not None:
        make(url, revision)
    stores = [SqlJobStore(url) for _ in range(4)]
    changes: list[schema.Change] = []
    errors: list[BaseException] = []

    def start(store: SqlJobStore) -> None:
        try:
            with store._database.write() as connection:
                changes.append(schema.upgrade(connection))
                time.sleep(0.2)  # done, not committed: nobody else may begin
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert errors == []
    assert sorted(str(change.before) for change in changes) == sorted([str(revision), HEAD, HEAD, HEAD])


def test_opening_says_what_was_done(url: str, new_job: Callable[..., NewJob], caplog: pytest.LogCaptureFixture) -> None:
    said = []
    for _ in range(2):
        store = SqlJobStore(url)
        with caplog.at_level(logging.INFO, "service.jobs.sql"):
            caplog.clear()
            store.open()
            said += [record.getMessage() for record in caplog.records if record.name == "service.jobs.sql"]
        assert store.submit(new_job(), 10).job.state is JobState.QUEUED
        store.close()
    assert said == [
        f"the database was empty; its tables were made, at revision {HEAD}",
        f"the database is at revision {HEAD}",
    ]
