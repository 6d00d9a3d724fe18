"""Mutated pictures against a real server (promise R6): each is refused with a 4xx or restored, soon, and nothing stays.

python benchmarks/fuzz.py [--count 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from common import ROOT, Table, circumstances, report
from hostile import mutations, sound
from serving import Running, serving

#: Requests at the same time: what two cores work on, and one that waits.
CLIENTS = 3
WARM_UP = 300
LONGEST = 2.0


async def send(url: str, files: list[tuple[str, bytes]], seconds: dict[str, float]) -> Counter[str]:
    """Send every file; statuses and codes counted, seconds by file."""
    answers: Counter[str] = Counter()
    left = iter(files)

    async def client_loop(client: httpx.AsyncClient) -> None:
        for what, data in left:
            begun = time.perf_counter()
            answer = await client.post("/v1/denoise?noise=20", content=data)
            seconds[what] = time.perf_counter() - begun
            code = answer.json()["code"] if answer.status_code != 200 else "restored"
            answers[f"{answer.status_code} {code}"] += 1

    async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
        await asyncio.gather(*(client_loop(client) for _ in range(CLIENTS)))
    return answers


def settled(server: Running) -> float:
    """Resident mebibytes once the results of the last minute have expired."""
    time.sleep(13.0)
    return server.held().bytes / 2**20


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        limits = {"retention_seconds": 1, "devices": "cpu", "threads": 1, "max_queue": 1000}
        with serving(Path(folder), "trivial", **limits) as server:
            good = list(sound().items())
            asyncio.run(send(server.url, [(f"w{n}", good[n % len(good)][1]) for n in range(WARM_UP)], {}))
            memory, processes = settled(server), server.processes()
            seconds: dict[str, float] = {}
            begun = time.perf_counter()
            files = dict(mutations(options.count, seed=2026))
            answers = asyncio.run(send(server.url, list(files.items()), seconds))
            took = time.perf_counter() - begun
            alone: dict[str, float] = {}
            for what in [what for what, taken in seconds.items() if taken > LONGEST]:
                asyncio.run(send(server.url, [(what, files[what])], alone))
            after, survivors = settled(server), server.processes()
            again = asyncio.run(send(server.url, good, {}))
    _report(
        options, answers, np.array(list(seconds.values())), took, memory, after, processes == survivors, again, alone
    )


def _report(
    options: argparse.Namespace, answers: Counter[str], seconds: np.ndarray, took: float, memory: float, after: float,
    same: bool, again: Counter[str], alone: dict[str, float],
) -> None:  # fmt: skip
    table = Table("Answers", ["answer", "pictures"])
    for name, number in sorted(answers.items()):
        table.add(name, number)
    bars = Table("Promise R6", ["measure", "seen", "bar"])
    unexpected = sum(number for name, number in answers.items() if name[:3] not in ("200", "413", "415", "422"))
    bars.add("pictures", sum(answers.values()), options.count)
    bars.add("answers other than restored or 4xx", unexpected, 0)
    bars.add("longest answer, s", float(seconds.max()), LONGEST)
    bars.add("answers above 2 s", int((seconds > LONGEST).sum()), 0)
    bars.add("of those, sent again alone, the longest, s", max(alone.values(), default=None), LONGEST)
    bars.add("p99, s", float(np.quantile(seconds, 0.99)), None)
    bars.add("resident memory before, MiB (server, worker, decoders)", memory, None)
    bars.add("resident memory after, MiB", after, "as before")
    bars.add("processes are the same as before", str(same), "True")
    bars.add("sound pictures restored afterwards", again["200 restored"], len(sound()))
    notes = [
        f"{sum(answers.values())} mutations of {len(sound())} sound files (benchmarks/hostile.py), {CLIENTS} at a time "
        f"over HTTP, {sum(answers.values()) / took:.0f} a second; seconds include waiting for one another",
        "the prior costs nothing, so that what is measured is the server: sniffing, decoding on trial, queue, worker",
        "memory is read 13 s after the last answer, when its results have expired",
        f"load average over the last 15 minutes, this run included: {os.getloadavg()[2]:.1f}",
    ]
    report(options.out, "fuzz", "10,000 mutated pictures", [bars, table], notes, circumstances(None))


if __name__ == "__main__":
    main()
