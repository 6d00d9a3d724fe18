"""What the server costs over the library, and how it behaves when too many come or dawdle (promises R9, R10).

python benchmarks/load.py [--pairs 25]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from common import ROOT, Table, circumstances, report
from PIL import Image
from serving import Running, serving

from restore.prior import Denoiser

QUERY = "/v1/denoise?noise=25"
CLIENTS, EACH = 64, 2
SLOW = 500


def picture(side: int) -> bytes:
    """A noisy gradient, PNG."""
    rng = np.random.default_rng(side)
    ramp = np.linspace(50, 200, side)[None, :, None] + 25.0 * rng.standard_normal((side, side, 3))
    file = io.BytesIO()
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def overhead(pairs: int, table: Table) -> Denoiser:
    """A 256x256 restoration by a library call and over HTTP, in turns; returns the prior."""
    from restore import Restorer
    from restore.images import encode

    data, restorer = picture(256), Restorer.from_pretrained()

    def library() -> bytes:
        done = restorer.restore(data, "denoise", noise=25)
        return encode(done.picture, done.tensor, format="png")

    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, httpx.Client(timeout=60) as client:
        seconds: dict[str, list[float]] = {"library": [], "server": []}
        stages: dict[str, list[float]] = {}
        for number in range(pairs + 3):
            for name in seconds:
                begun = time.perf_counter()
                if name == "library":
                    result = library()
                else:
                    answer = client.post(server.url + QUERY, content=data)
                    assert answer.content == result, "the server's answer is not the library's"
                if number >= 3:
                    seconds[name].append(time.perf_counter() - begun)
            for part in answer.headers["server-timing"].split(", "):
                stage, _, taken = part.partition(";dur=")
                stages.setdefault(stage, []).append(float(taken))
    for name, taken in seconds.items():
        table.add(f"256x256 by the {name}, p50, ms", 1000 * float(np.median(taken)), None)
    added = [b - a for a, b in zip(*seconds.values(), strict=True)]
    table.add("added by the server, p50 over pairs, ms", 1000 * float(np.median(added)), "15")
    for stage, milliseconds in stages.items():
        table.add(f"of the server's: {stage}, p50, ms", float(np.median(milliseconds)), None)
    return restorer.denoiser


async def crowd(url: str, table: Table) -> None:
    """64 clients with the embedded prior."""
    data, statuses, seconds = picture(256), Counter[str](), []

    async def client_loop() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=300) as client:
            for _ in range(EACH):
                begun = time.perf_counter()
                answer = await client.post(QUERY, content=data)
                seconds.append(time.perf_counter() - begun)
                honest = answer.status_code == 200 or (answer.status_code == 503 and "retry-after" in answer.headers)
                statuses["" if honest else "wrong"] += 1
                statuses[str(answer.status_code)] += 1

    begun = time.perf_counter()
    await asyncio.gather(*(client_loop() for _ in range(CLIENTS)))
    took = time.perf_counter() - begun
    told = ", ".join(f"{name}: {number}" for name, number in sorted(statuses.items()) if name.isdigit())
    table.add(f"{CLIENTS} clients, {EACH} requests each: answers by status", told, "200, 503")
    table.add("answers that are neither 200 nor 503 with Retry-After", statuses["wrong"], "0")
    table.add("restorations a second", statuses["200"] / took, None)
    table.add("p50 and p99 of an answer, s", _quantiles(seconds), None)


async def overload(server: Running, table: Table) -> None:
    """Ten times what is taken, at once (R10)."""
    data = picture(64)
    before = server.held().bytes
    waits: dict[int, list[float]] = {}
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:

        async def one(number: int) -> None:
            await asyncio.sleep(number / 100)
            begun = time.perf_counter()
            answer = await client.post(QUERY, content=data, headers={"Prefer": "wait=30"})
            assert answer.status_code == 200 or "retry-after" in answer.headers, answer.text
            waits.setdefault(answer.status_code, []).append(time.perf_counter() - begun)

        await asyncio.gather(*(one(number) for number in range(500)))
    table.add("statuses of 500 requests in 5 s", ", ".join(f"{s}: {len(w)}" for s, w in sorted(waits.items())), None)
    table.add("accepted, p50 and p99, s", _quantiles(waits[200]), "bounded")
    table.add("refused (503 with Retry-After), p50 and p99, ms", _quantiles(waits.get(503, [0.0]), 1000), "50")
    table.add("resident memory before and after, MiB", f"{before >> 20}, {server.held().bytes >> 20}", "bounded")


async def dawdlers(server: Running, table: Table) -> None:
    """Ordinary requests beside 500 connections that never finish theirs (R9)."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    data, closed = picture(64), list[float]()

    async def drip() -> None:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            writer.write(b"POST /v1/denoise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await reader.read(65_536)
        writer.close()
        closed.append(time.perf_counter() - begun)

    async def ordinary(client: httpx.AsyncClient, number: int) -> list[float]:
        found = []
        for _ in range(number):
            begun = time.perf_counter()
            assert (await client.post(QUERY, content=data)).status_code == 200
            found.append(time.perf_counter() - begun)
        return found

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await ordinary(client, 20)
        alone = await ordinary(client, 100)
        slow = [asyncio.create_task(drip()) for _ in range(SLOW)]
        await asyncio.sleep(2.0)
        beside = await ordinary(client, 100)
        open_still = SLOW - len(closed)
        await asyncio.gather(*slow)
    table.add("ordinary requests alone, p50 and p99, ms", _quantiles(alone, 1000), None)
    table.add(f"beside {SLOW} slow connections, p50 and p99, ms", _quantiles(beside, 1000), None)
    table.add("ratio of the p99s", float(np.quantile(beside, 0.99) / np.quantile(alone, 0.99)), "2")
    table.add("slow connections that were open all the while", open_still, str(SLOW))
    table.add("the last slow connection was closed after, s (limit set to 40)", max(closed), "60")


def _quantiles(values: Sequence[float], scale: float = 1.0) -> str:
    return ", ".join(f"{scale * float(np.quantile(values, q)):.3g}" for q in (0.5, 0.99))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    columns = ["measure", "seen", "bar"]
    one, many, flood, slow = (
        Table(title, columns)
        for title in ("Over the library", "64 clients", "Ten times too much (R10)", "500 slow connections (R9)")
    )
    denoiser = overhead(options.pairs, one)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        asyncio.run(crowd(server.url, many))
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "trivial", max_queue=8) as server:
        asyncio.run(overload(server, flood))
    limits = {"receive_seconds": 40, "idle_seconds": 15}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "trivial", **limits) as server:
        asyncio.run(dawdlers(server, slow))
    notes = [
        "library: Restorer.restore of the PNG's bytes and encoding as PNG; server: POST over a kept connection, the "
        "same bytes back (compared each time); in turns, so that whatever else the machine does meets both",
        "64 clients: the embedded prior; the two other tables: a prior that costs nothing, pictures of 64x64",
        "R10: 100 requests a second for 5 s over 64 connections, 8 places in the queue",
        f"load average before the start: {before:.1f} on two cores that others use as well",
    ]
    report(options.out, "load", "The server under load", [one, many, flood, slow], notes, circumstances(denoiser))


if __name__ == "__main__":
    main()
