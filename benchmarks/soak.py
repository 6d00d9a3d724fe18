"""A server under steady mixed work (promise R11): memory, descriptors, threads and files over thousands of requests.

python benchmarks/soak.py [--requests 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from common import ROOT, Table, circumstances, report
from PIL import Image
from serving import Held, Running, serving

CLIENTS = 4
SAMPLES = 40
#: Slope after so much of the run: allocators and caches have filled by then.
WARM = 1 / 3


def picture() -> bytes:
    """96 x 64 noise, PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


async def one(client: httpx.AsyncClient, number: int, data: bytes) -> int:
    """One request of the mix; its status."""
    kind = number % 8
    if kind < 3:
        return (await client.post("/v1/denoise?noise=20", content=data)).status_code
    if kind == 3:
        body = {"image": {"b64": base64.b64encode(data).decode()}, "task": "super-resolve", "scale": 2, "inline": True}
        return (await client.post("/restore", json=body)).status_code
    if kind == 4:
        return (await client.post("/v1/denoise", content=data[: len(data) // 2])).status_code
    if kind == 5:
        answer = await client.post("/v1/denoise", files={"image": data}, headers={"Prefer": "respond-async"})
        path = answer.headers["location"]
        await client.get(path, headers={"Prefer": "wait=30"})
        await client.get(f"{path}/result")
        return (await client.delete(path)).status_code
    if kind == 6:
        return (await client.post("/v1/denoise", content=data, headers={"Accept": "text/event-stream"})).status_code
    return (await client.get("/v1/jobs?limit=20")).status_code


async def soak(server: Running, requests: int) -> tuple[list[tuple[int, Held]], Counter[int]]:
    """(requests so far, what is held) along the way, and the statuses."""
    data, statuses = picture(), Counter[int]()
    seen: list[tuple[int, Held]] = []
    numbers = iter(range(requests))
    async with httpx.AsyncClient(base_url=server.url, timeout=900.0) as client:

        async def work() -> None:
            for number in numbers:
                statuses[await one(client, number, data)] += 1
                if number % (requests // SAMPLES) == 0:
                    seen.append((number, server.held()))

        await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return sorted(seen, key=lambda entry: entry[0]), statuses


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # A machine that stands still for minutes is no hanging worker.
        limits = {"retention_seconds": 5, "devices": "cpu", "threads": 1, "hang_seconds": 3600, "lease_seconds": 3600}
        with serving(Path(folder), "trivial", **limits) as server:
            begun = time.perf_counter()
            seen, statuses = asyncio.run(soak(server, options.requests))
            took = time.perf_counter() - begun
            time.sleep(25.0)  # keep-alive ends, results expire, files go
            end, files = server.held(), server.files()
    numbers, mebibytes = (np.array(v, float) for v in zip(*((n, h.bytes / 2**20) for n, h in seen), strict=True))
    warm = numbers >= WARM * options.requests
    slope = float(np.polyfit(numbers[warm] / 1000.0, mebibytes[warm], 1)[0])
    late = numbers >= 0.75 * options.requests
    last = float(np.polyfit(numbers[late] / 1000.0, mebibytes[late], 1)[0])
    first = seen[int(np.argmax(warm))][1]
    table = Table("Promise R11", ["measure", "seen", "bar"])
    table.add("slope of resident memory after a third, MiB per 1,000 requests", slope, 1.0)
    table.add("slope over the last quarter", last, 1.0)
    table.add(
        "resident memory after a third and at the end, MiB", f"{first.bytes / 2**20:.1f}, {end.bytes / 2**20:.1f}", None
    )
    table.add("descriptors after a third and at the end", f"{first.descriptors}, {end.descriptors}", "no more")
    table.add("threads after a third and at the end", f"{first.threads}, {end.threads}", "no more")
    table.add("stored pictures at the end", files, 0)
    roles = ("server", "worker", "decoder")
    course = Table("On the way: resident MiB", ["requests", "all", *roles, "descriptors", "threads"], digits=1)
    for number, held in seen[:: max(1, len(seen) // 12)]:
        by_role = [held.by_role.get(role, 0) / 2**20 for role in roles]
        course.add(number, held.bytes / 2**20, *by_role, held.descriptors, held.threads)
    notes = [
        f"{options.requests} requests in {took:.0f} s by {CLIENTS} clients; statuses: "
        + ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items())),
        "an eighth each: JSON with the result inside, a truncated picture, a job with long-poll, result and deletion, "
        "events, a list; three eighths raw pictures; all processes (server, worker, decoders) together; trivial prior",
        f"load average over the last 15 minutes, this run included: {os.getloadavg()[2]:.1f}",
    ]
    report(options.out, "soak", "Soak", [table, course], notes, circumstances(None))


if __name__ == "__main__":
    main()
