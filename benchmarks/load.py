"""What the server costs over the library, and how it behaves when too many come or dawdle (promises R9, R10).

python benchmarks/load.py overhead [--pairs 25]
python benchmarks/load.py clients [--each 1]
python benchmarks/load.py overload [--seconds 20]
python benchmarks/load.py slow [--slow 500]

Each part takes one or two minutes; results/load.md is made of what each measured last. A rehearsal: --prior trivial
and small numbers, into another folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
from common import ROOT, Table, circumstances, report_part
from PIL import Image
from serving import serving

from restore import Restorer

QUERY = "/v1/denoise?noise=25"
CLIENTS = 64
COLUMNS = ("measure", "seen", "bar")
#: Waiting places while too many come: few, so that most are refused.
PLACES = 8


def picture(side: int) -> bytes:
    """A noisy gradient, PNG."""
    rng = np.random.default_rng(side)
    ramp = np.linspace(50, 200, side)[None, :, None] + 25.0 * rng.standard_normal((side, side, 3))
    file = io.BytesIO()
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def restorer(prior: str) -> Restorer:
    """The library, with the prior that the server has."""
    if prior == "embedded":
        return Restorer.from_pretrained()
    from trivial_prior import load

    return Restorer(load())


def overhead(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """A 256x256 restoration by a library call and over HTTP, in turns."""
    from restore.images import encode

    data, library_prior = picture(256), restorer(options.prior)

    def library() -> bytes:
        done = library_prior.restore(data, "denoise", noise=25)
        return encode(done.picture, done.tensor, format="png")

    seconds: dict[str, list[float]] = {"library": [], "server": []}
    stages: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), options.prior) as server,
        httpx.Client(timeout=60) as client,
    ):
        for number in range(options.pairs + 3):
            for name in seconds:
                begun = time.perf_counter()
                if name == "library":
                    result = library()
                else:
                    answer = client.post(server.url + QUERY, content=data)
                taken = time.perf_counter() - begun
                if number >= 3:
                    seconds[name].append(taken)
            assert answer.content == result, "the server's answer is not the library's"
            for part in answer.headers["server-timing"].split(", ") if number >= 3 else ():
                stage, _, told = part.partition(";dur=")
                stages.setdefault(stage, []).append(float(told))
    table = Table("Over the library", COLUMNS)
    for name, taken_by in seconds.items():
        table.add(f"256x256 by the {name}, p50, ms", 1000 * float(np.median(taken_by)), None)
    added = [b - a for a, b in zip(*seconds.values(), strict=True)]
    table.add("added by the server, p50 over pairs, ms", 1000 * float(np.median(added)), "15")
    for stage, milliseconds in stages.items():
        table.add(f"of the server's: {stage}, p50, ms", float(np.median(milliseconds)), None)
    notes = [
        f"{options.pairs} pairs. Library: Restorer.restore of the PNG's bytes and encoding as PNG; server: POST over a "
        "kept connection, the same bytes back (compared each time); in turns, so that whatever else the machine does "
        "meets both"
    ]
    return [table], notes


def clients(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """64 clients at once."""
    table = Table("64 clients", COLUMNS)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.prior) as server:
        asyncio.run(_crowd(server.url, options.each, table))
    return [table], ["pictures of 256x256; each client has one connection and sends its next request after an answer"]


async def _crowd(url: str, each: int, table: Table) -> None:
    data, statuses, seconds = picture(256), Counter[str](), []

    async def client_loop() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=300) as client:
            for _ in range(each):
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
    table.add(f"{CLIENTS} clients, {each} request(s) each: answers by status", told, "200, 503")
    table.add("answers that are neither 200 nor 503 with Retry-After", statuses["wrong"], "0")
    table.add("restorations a second", statuses["200"] / took, None)
    table.add("p50 and p99 of an answer, s", _quantiles(seconds), None)


def overload(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """Ten times what is taken (R10)."""
    table = Table("Ten times too much (R10)", COLUMNS)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), options.prior, max_queue=PLACES) as server,
    ):
        capacity = asyncio.run(_capacity(server.url))
        before = server.held().bytes
        waits, took = asyncio.run(_flood(server.url, 10 * capacity, options.seconds))
        after = server.held().bytes
    sent, done = sum(map(len, waits.values())), len(waits.get(200, ()))
    table.add("restorations a second by four clients that wait for their answers", capacity, None)
    table.add("requests a second for " + f"{options.seconds:g} s", sent / options.seconds, None)
    table.add("answers by status", ", ".join(f"{s}: {len(w)}" for s, w in sorted(waits.items())), "200, 202, 503")
    table.add("restorations a second meanwhile", done / took, None)
    table.add("restored, p50 and p99, s", _quantiles(waits.get(200, [0.0])), "bounded")
    table.add("refused (503 with Retry-After), p50 and p99, ms", _quantiles(waits.get(503, [0.0]), 1000), "50")
    table.add("resident memory before and after, MiB", f"{before >> 20}, {after >> 20}", "bounded")
    notes = [
        f"pictures of 256x256, {PLACES} places in the queue, Prefer: wait=30; every request has a connection of its "
        "own and is sent at its moment, whatever became of the others; client, server and worker share the cores, "
        "which the worker keeps busy"
    ]
    return [table], notes


async def _capacity(url: str, seconds: float = 6.0) -> float:
    """Restorations a second of a server that always has work."""
    data, begun, done = picture(256), time.perf_counter(), 0
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def client_loop() -> None:
            nonlocal done
            while time.perf_counter() - begun < seconds:
                assert (await client.post(QUERY, content=data)).status_code == 200
                done += 1

        await asyncio.gather(*(client_loop() for _ in range(4)))
    return done / (time.perf_counter() - begun)


async def _flood(url: str, rate: float, seconds: float) -> tuple[dict[int, list[float]], float]:
    """Seconds until the answer by status, and until the last one."""
    data, begun = picture(256), time.perf_counter()
    waits: dict[int, list[float]] = {}
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=unlimited) as client:

        async def one(moment: float) -> None:
            await asyncio.sleep(begun + moment - time.perf_counter())
            sent = time.perf_counter()
            answer = await client.post(QUERY, content=data, headers={"Prefer": "wait=30"})
            taken = time.perf_counter() - sent
            assert answer.status_code in (200, 202) or "retry-after" in answer.headers, answer.text
            waits.setdefault(answer.status_code, []).append(taken)

        await asyncio.gather(*(one(number / rate) for number in range(int(rate * seconds))))
    return waits, time.perf_counter() - begun


def slow(options: argparse.Namespace) -> tuple[list[Table], list[str]]:
    """Ordinary requests beside connections that never finish theirs (R9)."""
    table = Table(f"{options.slow} slow connections (R9)", COLUMNS)
    context = multiprocessing.get_context("spawn")
    data = picture(64)

    def ordinary(client: httpx.Client, number: int) -> list[float]:
        found = []
        for _ in range(number):
            begun = time.perf_counter()
            assert client.post(QUERY, content=data).status_code == 200
            found.append(time.perf_counter() - begun)
        return found

    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), "trivial") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        ordinary(client, 20)
        alone = ordinary(client, options.ordinary)
        told, teller = context.Pipe(duplex=False)
        dripping = context.Process(target=_drip_all, args=(server.url, options.slow, teller))
        dripping.start()
        assert told.poll(60) and told.recv() == options.slow
        time.sleep(2.0)
        beside = ordinary(client, options.ordinary)
        all_open = not told.poll(0)
        assert told.poll(120) and told.recv() == "the first was closed"
        lives = told.recv()
        dripping.join()
    table.add("ordinary requests alone, p50 and p99, ms", _quantiles(alone, 1000), None)
    table.add(f"beside {options.slow} slow connections, p50 and p99, ms", _quantiles(beside, 1000), None)
    table.add("ratio of the p99s", float(np.quantile(beside, 0.99) / np.quantile(alone, 0.99)), "2")
    table.add("all slow connections were open meanwhile", str(all_open), "True")
    table.add("first and last slow connection closed after, s", f"{min(lives):.1f}, {max(lives):.1f}", "60")
    return [table], [f"{options.ordinary} ordinary requests each, pictures of 64x64, a prior that costs nothing"]


def _drip_all(url: str, number: int, teller: Connection) -> None:
    """In a process of its own, so that it delays nobody's measurement but the server's.

    Tells how many connections stand, then, when the first was closed, that it was, and at the end how long each lasted.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    lives: list[float] = []

    async def drip(standing: asyncio.Semaphore) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        begun = time.perf_counter()
        standing.release()
        with contextlib.suppress(ConnectionError):
            writer.write(b"POST /v1/denoise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await reader.read(65_536)
        lives.append(time.perf_counter() - begun)
        if len(lives) == 1:
            teller.send("the first was closed")
        writer.close()

    async def all_of_them() -> None:
        standing = asyncio.Semaphore(0)
        dripping = [asyncio.create_task(drip(standing)) for _ in range(number)]
        for _ in range(number):
            await standing.acquire()
        teller.send(number)
        await asyncio.gather(*dripping)

    asyncio.run(all_of_them())
    teller.send(lives)


def _quantiles(values: Sequence[float], scale: float = 1.0) -> str:
    return ", ".join(f"{scale * float(np.quantile(values, q)):.3g}" for q in (0.5, 0.99))


PARTS = {"overhead": overhead, "clients": clients, "overload": overload, "slow": slow}


def main() -> None:
    """Measure a part and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--each", type=int, default=1, help="requests of each of the 64 clients")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the overload")
    parser.add_argument("--slow", type=int, default=500, help="slow connections")
    parser.add_argument("--ordinary", type=int, default=300, help="requests alone and beside the slow ones")
    parser.add_argument("--prior", choices=["embedded", "trivial"], default="embedded")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    facts = circumstances(restorer(options.prior).denoiser)
    tables, notes = PARTS[options.part](options)
    notes.append(f"load average before the start: {before:.1f}")
    report_part(options.out, "load", "The server under load", options.part, tables, notes, facts)


if __name__ == "__main__":
    main()
