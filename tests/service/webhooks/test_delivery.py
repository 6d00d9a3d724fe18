"""R18: webhooks are delivered, signed, again and again, after a kill too, and to public addresses only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.jobs.model import JobError, NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.store import Outcome
from service.protection.addresses import AddressGuard, networks
from service.protection.outbound import Outbound
from service.threads import Threads
from service.webhooks import sender as sender_module
from service.webhooks.sender import Sender
from service.webhooks.signing import Signer

SECRET = f"whsec_{base64.b64encode(bytes(24)).decode()}"
Receive = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> SqlJobStore:
    store = SqlJobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.open()
    return store


def sending(store: SqlJobStore, test: Callable[[], Awaitable[None]], allowed: str = "127.0.0.0/8") -> None:
    """Run a test beside a sender; half a minute is long for any."""

    async def run() -> None:
        threads = Threads("test", 4)
        sender = Sender(store.outbox, Outbound(AddressGuard(allowed=networks(allowed))), Signer(SECRET), threads)
        task = asyncio.create_task(sender.run())
        try:
            async with asyncio.timeout(30):
                await test()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.1)  # transports that were closed are gone after a turn of the loop or two
            threads.close()
            store.close()

    asyncio.run(run())


def end(store: SqlJobStore, url: str | None, how: str = "succeeded") -> str:
    job_id = store.submit(NewJob("denoise", {}, {"image": "input/a"}, webhook=url), 10).job.id
    if how == "queued and canceled":
        store.cancel(job_id, 60)
        return job_id
    store.claim("w", 30, 1)
    if how == "succeeded":
        store.succeed(job_id, 1, Outcome({}, "image/png", 1, 1, "", {}, [], {}), 60)
    elif how == "failed":
        store.fail(job_id, 1, JobError("numerical", "not a number"), 60)
    return job_id


def outcomes(store: SqlJobStore) -> list[tuple[str, int, str]]:
    from sqlalchemy import select

    from service.jobs.tables import webhooks

    with store._database.read() as connection:
        return [(row.state, row.attempts, row.answer) for row in connection.execute(select(webhooks))]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["succeeded", "failed", "queued and canceled"])
def test_the_end_of_a_job_is_told_once_and_the_signature_verifies(
    store: SqlJobStore, receiving: Receive, how: str
) -> None:
    async def test() -> None:
        async with receiving(204) as receiver:
            job_id = end(store, receiver.url, how)
            await until(lambda: outcomes(store) == [("delivered", 1, "204")])
            ((headers, body),) = receiver.received
            message = Webhook(SECRET).verify(body, headers)
            state = how.split()[-1]
            assert message["type"] == f"job.{state}"
            assert {"id": job_id, "state": state, "task": "denoise"}.items() <= message["data"].items()
            assert ("error" in message["data"]) == (how == "failed")
            assert headers["content-type"] == "application/json"

    sending(store, test)


def test_jobs_without_a_webhook_tell_nobody(store: SqlJobStore) -> None:
    end(store, None)
    assert outcomes(store) == []


def test_a_refusing_receiver_is_asked_again_with_the_same_message(
    store: SqlJobStore, receiving: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "RETRY_SECONDS", (0.05, 0.05, 0.05))

    async def test() -> None:
        async with receiving(500, 302, 200) as receiver:
            end(store, receiver.url)
            await until(lambda: outcomes(store) == [("delivered", 3, "200")])
            assert len({(headers["webhook-id"], body) for headers, body in receiver.received}) == 1

    sending(store, test)


@pytest.mark.parametrize(("status", "attempts"), [(410, 1), (500, 3)])
def test_a_delivery_is_given_up_when_gone_or_after_the_last_try(
    store: SqlJobStore, receiving: Receive, monkeypatch: pytest.MonkeyPatch, status: int, attempts: int
) -> None:
    monkeypatch.setattr(sender_module, "RETRY_SECONDS", (0.02, 0.02))

    async def test() -> None:
        async with receiving(status) as receiver:
            end(store, receiver.url)
            await until(lambda: outcomes(store) == [("failed", attempts, str(status))])

    sending(store, test)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/", "http://example.com/"]
)
def test_private_targets_are_refused_for_good(store: SqlJobStore, url: str) -> None:
    async def test() -> None:
        end(store, url)
        await until(lambda: [row[:2] for row in outcomes(store)] == [("failed", 1)])

    sending(store, test, allowed="")


def test_a_receiver_that_hangs_is_left_and_holds_nobody_up(
    store: SqlJobStore, receiving: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "ATTEMPT_SECONDS", 0.5)

    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        left.set()

    async def test() -> None:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server, receiving() as receiver:
            end(store, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            end(store, receiver.url)
            await until(lambda: sorted(row[:2] for row in outcomes(store)) == [("delivered", 1), ("pending", 1)])
            await until(lambda: "did not answer" in " ".join(row[2] for row in outcomes(store)))
            await left.wait()

    sending(store, test)


def test_a_taken_delivery_is_nobody_elses_until_its_hold_is_over(store: SqlJobStore) -> None:
    end(store, "https://example.com/")
    (first,) = store.outbox.take(10, 0.2)
    assert store.outbox.take(10, 0.2) == []
    import time

    time.sleep(0.3)  # whoever took it was killed
    (again,) = store.outbox.take(10, 30)
    assert (again.id, again.body, again.attempts) == (first.id, first.body, 2)
    store.outbox.failed(first, "late", 1.0, 0.0)  # a stale attempt does not bring it forward
    assert store.outbox.take(10, 30) == []
    store.close()
