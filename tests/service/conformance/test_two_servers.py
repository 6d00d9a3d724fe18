"""Promises R3 and R18 with two server processes on one PostgreSQL and one S3 bucket, at the default settings."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from sqlalchemy import create_engine, text
from standardwebhooks import Webhook

from tests.service.conformance.site import SECRET, Server, Site, until
from tests.service.servers import Bucket, postgres_database

pytestmark = pytest.mark.slow

Receive = Callable[..., AbstractContextManager[tuple[str, list[tuple[dict[str, str], bytes]]]]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Signs the receiver's certificate; the servers trust it."""
    authority, path = trustme.CA(), tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, path


@pytest.fixture(scope="module")
def shared(
    postgres: str, bucket: Bucket, authority: tuple[trustme.CA, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Servers with the default lease."""
    with postgres_database(postgres) as url:
        settings = {
            "PELLUCID_DATABASE_URL": url,
            "PELLUCID_BLOB_URL": bucket.url,
            "PELLUCID_DEVICES": "cpu",
            "PELLUCID_JOBS_AT_ONCE": "4",
            "PELLUCID_DRAIN_SECONDS": "1",
            "PELLUCID_REQUESTS_PER_MINUTE": "1000000",
            "PELLUCID_WEBHOOK_SECRET": SECRET,
            "PELLUCID_LOG_FORMAT": "text",
            "SSL_CERT_FILE": str(authority[1]),
            **bucket.environment,
        }
        site = Site("local", tmp_path_factory.mktemp("shared"), settings)
        try:
            site.start()
            yield site
        finally:
            site.stop()


@pytest.fixture
def receiving(authority: tuple[trustme.CA, Path]) -> Receive:
    """A receiver of webhooks, with its https address and what it received."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(tls)

    @contextmanager
    def receive(port: int = 0) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
        received: list[tuple[dict[str, str], bytes]] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            received.append((headers, await reader.readexactly(int(headers["content-length"]))))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", port, ssl=tls))
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", received
        finally:

            async def close() -> None:
                server.close()
                await asyncio.sleep(0.1)

            asyncio.run_coroutine_threadsafe(close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    return receive


def outbox(site: Site) -> list[tuple[str, int]]:
    """(state, attempts) of each delivery."""
    engine = create_engine(site.settings["PELLUCID_DATABASE_URL"])
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text("SELECT state, attempts FROM webhooks ORDER BY id"))]
    engine.dispose()
    return found  # type: ignore[return-value]


@pytest.mark.seldom
def test_the_jobs_of_a_dead_server_are_picked_up_within_forty_seconds(shared: Site) -> None:
    """R3. The lease is 30 s; nothing but its end tells another machine that the server is dead."""
    home, server = shared.home, shared.second()
    running = shared.run_at(server, home, "slow.50", steps=400)
    server.kill()
    killed = time.monotonic()
    until(lambda: home.job(running)["attempt"] == 2, "picked up")
    assert time.monotonic() - killed < 40
    assert home.client.post(f"/v1/jobs/{running}/cancel").status_code == 202
    home.until(running, "canceled")


@pytest.mark.seldom
def test_the_late_writes_of_a_server_that_was_cut_off_are_refused(shared: Site) -> None:
    """R3. Its claim's fence is an old one when it comes back."""
    home, server = shared.home, shared.second()
    job_id = shared.run_at(server, home, "slow.50", steps=60)
    with server.paused():
        job = home.until(job_id, "succeeded")
    result = home.result(job_id)
    until(lambda: "lost its job" in server.log or "came too late" in server.log or "is lost" in server.log, "a word")
    server.until(server.submit(), "succeeded")
    assert home.job(job_id) == job
    assert (job["attempt"], home.result(job_id)) == (2, result)


def test_private_targets_are_refused_without_being_connected_to(shared: Site, receiving: Receive) -> None:
    """R18. Loopback is not public, and no setting of these servers says otherwise."""
    server: Server = shared.home
    with receiving() as (url, received):
        before = len(outbox(shared))
        server.submit(webhook=url, expect=422)
        server.until(server.submit(), "succeeded")
        assert len(outbox(shared)) == before
        assert received == []


def test_a_waiting_client_hears_of_the_end_without_polling(shared: Site) -> None:
    """The job runs on the other server: its end is a notice of the database."""
    home, server = shared.home, shared.second()
    job_id = shared.run_at(server, home, "slow.50", steps=40)
    answer: Any = home.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
    assert answer.json()["state"] == "succeeded"


def test_a_webhook_is_delivered_by_another_server_when_the_first_is_killed(shared: Site, receiving: Receive) -> None:
    """R18. The first attempt found nobody; whoever made it dies before the second is due, five seconds later."""
    with receiving() as (url, _):
        pass  # a port where nobody listens any more
    port = int(url.rpartition(":")[2].partition("/")[0])
    allowed = {"PELLUCID_ALLOWED_ADDRESSES": "127.0.0.0/8"}
    shared.stop()
    before = len(outbox(shared))
    first = shared.start(**allowed)
    job_id = first.submit(webhook=url)
    first.until(job_id, "succeeded")
    until(lambda: outbox(shared)[before:] == [("pending", 1)] and "again in" in first.log, "a first attempt")
    first.kill()
    with receiving(port) as (_, received):
        shared.start(**allowed)
        until(lambda: outbox(shared)[before:] == [("delivered", 2)], "the delivery")
        ((headers, body),) = received
        message = Webhook(SECRET).verify(body, headers)
        assert (message["type"], message["data"]["id"]) == ("job.succeeded", job_id)
        other = f"whsec_{base64.b64encode(bytes(24)).decode()}"
        with pytest.raises(Exception, match="signature"):
            Webhook(other).verify(body, headers)
    shared.stop()
