"""Logs: ids of the request and the job on every line; no pictures, no secrets, no forged lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.observability import logs

KEY = "plk_9f8e7d6c5b4a_AbCdEfGhIjKl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    stream = io.StringIO()
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(False)


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_carry_the_ids_of_their_own_task(stream):
    logs.configure(stream=stream)

    async def work(number: int) -> None:
        with logs.bound(request=f"r{number}", job=f"j{number}"):
            await asyncio.sleep(0)
            logging.getLogger("a").info("from %d", number, extra={"seconds": 1.5})

    async def both() -> None:
        await asyncio.gather(work(1), work(2))
        logging.getLogger("a").info("outside")

    asyncio.run(both())
    assert [(e.get("request_id"), e.get("job_id"), e["message"]) for e in written(stream)] == [
        ("r1", "j1", "from 1"), ("r2", "j2", "from 2"), (None, None, "outside"),
    ]  # fmt: skip
    assert written(stream)[0]["seconds"] == 1.5 and written(stream)[0]["level"] == "info"


@pytest.mark.parametrize("style", ["json", "text"])
def test_pictures_and_secrets_are_left_out(stream, style):
    logs.configure(style=style, stream=stream)
    logger = logging.getLogger("b")
    logger.info("got %s and %r", b"\x89PNG-secret-pixels", KEY)
    logger.info("calling", extra={"url": "https://u:hunter2@h/", "head": {"a": "Bearer hunter2"}, "body": b"pixels"})
    logger.info("signed with whsec_aHVudGVyMmh1bnRlcjI=")
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("failed")
    text = stream.getvalue()
    assert not [word for word in ("pixels", "hunter2", "AbCdEf", "aHVudGVy") if word in text]
    assert "<18 bytes>" in text and "ValueError" in text


def test_client_cannot_forge_a_line(stream):
    logs.configure(style="text", stream=stream)
    logging.getLogger("c").info("path %s", "/a\n2026-01-01 error: all is lost", extra={"agent": "x\ny"})
    assert len(stream.getvalue().splitlines()) == 1


def test_level_and_access_log(stream):
    logs.configure(level="warning", stream=stream)
    logging.getLogger("d").info("hidden")
    logging.getLogger("uvicorn.access").error("GET /?key=secret")
    logging.getLogger("uvicorn.error").warning("shown")
    assert [e["message"] for e in written(stream)] == ["shown"]
