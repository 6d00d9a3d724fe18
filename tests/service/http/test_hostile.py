"""R6, R7, R9, R20 on the wire: what strangers send is answered soon and harms nobody."""

from __future__ import annotations

import asyncio
import importlib.util
import pickle
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from service.problems import Code
from service.schemas.problem import ProblemDetails

_unpickled: list[str] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        _unpickled.append(str(arguments))


sys.addaudithook(_hook)


@pytest.fixture(scope="module")
def hostile():
    path = Path(__file__).parents[3] / "benchmarks" / "hostile.py"
    spec = importlib.util.spec_from_file_location("hostile", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bombs_are_refused_with_their_code(server, hostile):
    for name, (code, make) in hostile.BOMBS.items():
        answer = server.client.post("/v1/denoise", content=make())
        assert (name, answer.status_code, answer.json()["code"]) == (name, 422, code)
    assert server.client.post("/v1/denoise", content=hostile.sound()["png"]).status_code == 200


def test_mutated_pictures_are_refused_or_restored(server, hostile):
    """R6, the quick version; benchmarks/fuzz.py sends 10,000."""
    answered = []
    for what, data in hostile.mutations(150, seed=3):
        answer = server.client.post("/v1/denoise?noise=20", content=data)
        assert answer.status_code in (200, 415, 422), (what, answer.text)
        answered.append(answer.status_code)
    assert answered.count(200) > 15
    assert answered.count(422) > 30


def test_a_pickle_is_no_picture_and_nothing_is_unpickled_by_a_restoration(server, hostile, picture):
    """R20, while it runs; tests/test_no_pickle.py looks at the code."""
    _unpickled.clear()
    poison = pickle.dumps(Path("x"))
    for answer in (
        server.client.post("/v1/denoise", content=poison),
        server.client.post("/v1/uploads", content=poison),
        server.client.post("/v1/deblur", files={"image": picture(), "kernel": poison}),
    ):
        assert answer.status_code in (415, 422)
    assert server.client.post("/v1/denoise?samples=2", content=picture()).status_code == 200
    assert _unpickled == []
    pickle.loads(poison)
    assert _unpickled, "the hook does not work"


@pytest.mark.parametrize(
    "begun",
    [b"GET /livez HTTP/1.1\r\nX-Slow: ", b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"],
)
def test_a_request_that_does_not_end_is_answered_408_and_closed(serve, begun):
    with serve(receive_seconds=0.3, idle_seconds=0.2) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(begun[:5])
            time.sleep(0.05)
            connection.sendall(begun[5:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in head.lower()
        assert ProblemDetails.model_validate_json(body).code is Code.REQUEST_TIMEOUT


def test_500_slow_clients_are_closed_in_time_and_in_nobodys_way(serve, picture):
    """R9, with the limits shortened: every dripping connection is closed, and others are served meanwhile."""

    async def drip(host: str, port: int, head: bytes, tail: bytes) -> float:
        """Seconds until the server closed the connection."""
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(head)
            while time.monotonic() - begun < 30:
                writer.write(tail)
                await writer.drain()
                try:
                    async with asyncio.timeout(0.25):
                        while await reader.read(1000):
                            pass
                    return time.monotonic() - begun
                except TimeoutError:
                    continue
        except ConnectionError:
            return time.monotonic() - begun
        finally:
            writer.close()
        return float("inf")

    async def all_of_them(url: str) -> tuple[list[float], list[int]]:
        host, _, port = url.removeprefix("http://").partition(":")
        kinds = [
            (b"POST /v1/denoise HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"a"),
            (b"POST /v1/denoise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"x"),
            (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b""),
            (b"", b""),
        ]
        slow = [asyncio.create_task(drip(host, int(port), *kinds[n % 4])) for n in range(500)]
        await asyncio.sleep(0.5)
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            answers = [(await client.post("/v1/denoise", content=picture())).status_code for _ in range(5)]
        return await asyncio.gather(*slow), answers

    # More dripping submissions than jobs may wait: they take no room from those that are there.
    with serve(receive_seconds=2.0, idle_seconds=1.0, max_queue=4) as server:
        seconds, answers = asyncio.run(all_of_them(server.url))
        assert answers == [200] * 5
        assert max(seconds) < 20  # 2 s, one of grace, and what 500 connections cost on a busy machine
        assert server.client.get("/livez").status_code == 200
