"""What the worker's step loop gives: many small requests at once, a small one beside a large one, tiles in one call.

Asks a real server with the embedded prior. Two things that are compared take turns; medians are given.

python benchmarks/batching.py throughput [--rounds 3]
python benchmarks/batching.py latency [--requests 40]
python benchmarks/batching.py tiles [--rounds 5]

Each part takes one or two minutes; results/batching.md is made of what each measured last. A rehearsal: --prior trivial
and small numbers, into another folder.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import common
import httpx
import numpy as np
import plots
import torch
from PIL import Image
from serving import Running, serving

from models.registry import load_denoiser

REQUESTS = 32
SMALL, LARGE = (256, 256), (1600, 1200)
TASKS = {"denoise": {"noise": 25}, "dejpeg": {"quality": 30}}
#: Tiles in one denoiser call, and tiles computed at the same time in threads of their own.
ROWS, LANES = (1, 2, 4, 8), (2,)


def picture(size: tuple[int, int]) -> bytes:
    """A noisy gradient, PNG."""
    width, height = size
    ramp = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
    noisy = ramp + 25 * np.random.default_rng(0).standard_normal(ramp.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


class Asker:
    """Asks one server over connections that are kept."""

    def __init__(self, server: Running) -> None:
        limits = httpx.Limits(max_connections=REQUESTS + 4, max_keepalive_connections=REQUESTS + 4)
        self.client = httpx.Client(base_url=server.url, timeout=600.0, limits=limits)

    def restore(self, task: str, data: bytes, prefer: str = "", **given: Any) -> httpx.Response:
        """POST /v1/TASK with a raw body."""
        headers = {"Prefer": prefer} if prefer else {}
        answer = self.client.post(f"/v1/{task}", content=data, params=given, headers=headers)
        answer.raise_for_status()
        return answer

    def seconds(self, task: str, data: bytes, **given: Any) -> float:
        """Of one request."""
        start = time.perf_counter()
        self.restore(task, data, **given)
        return time.perf_counter() - start

    def calls(self) -> tuple[float, float]:
        """Denoiser calls so far, and tiles in them."""
        found = {"pellucid_denoiser_calls_total": 0.0, "pellucid_batch_size_sum": 0.0}
        for line in self.client.get("/metrics").text.splitlines():
            name, _, value = line.partition(" ")
            if name in found:
                found[name] = float(value)
        return found["pellucid_denoiser_calls_total"], found["pellucid_batch_size_sum"]


def throughput(asker: Asker, tasks: Sequence[str], rounds: int, requests: int) -> common.Table:
    """Requests of one size, one at a time and all at once."""
    table = common.Table(
        f"{requests} requests of {SMALL[0]}x{SMALL[1]} pixels, medians of {rounds} rounds side by side",
        ("task", "one at a time, per second", "at once, per second", "ratio", "tiles in a call"),
    )
    data = picture(SMALL)
    for task in tasks:

        def one(_: int, task: str = task, given: dict[str, Any] = TASKS[task]) -> None:
            asker.restore(task, data, **given)

        def alone(one: Callable[[int], None] = one) -> None:
            for i in range(requests):
                one(i)

        def together(one: Callable[[int], None] = one) -> None:
            with ThreadPoolExecutor(requests) as pool:
                list(pool.map(one, range(requests)))

        for i in range(3):
            one(i)
        before = asker.calls()
        rates: dict[str, list[float]] = {"alone": [], "together": []}
        for _ in range(rounds):
            for name, run in (("alone", alone), ("together", together)):
                start = time.perf_counter()
                run()
                rates[name].append(requests / (time.perf_counter() - start))
        time.sleep(1.5)  # the worker's last report
        calls, tiles = (now - then for now, then in zip(asker.calls(), before, strict=True))
        ratio = statistics.median(b / a for a, b in zip(rates["alone"], rates["together"], strict=True))
        table.add(
            task, statistics.median(rates["alone"]), statistics.median(rates["together"]), ratio,
            tiles / calls if calls else None,
        )  # fmt: skip
    return table


def beside_a_large_one(asker: Asker, count: int) -> tuple[common.Table, dict[str, list[float]]]:
    """Latency of small requests: alone, and while a large picture is restored."""
    small, large = picture(SMALL), picture(LARGE)
    seen: dict[str, list[float]] = {"alone": [], "beside": [], "beside a batch job": []}

    def large_job(priority: str) -> str:
        answer = asker.restore("denoise", large, "respond-async", noise=25, priority=priority)
        return str(answer.json()["id"])

    def state(job: str) -> str:
        return str(asker.client.get(f"/v1/jobs/{job}").json()["state"])

    start = time.perf_counter()
    asker.restore("denoise", large, noise=25)
    whole = time.perf_counter() - start
    for name, priority in (("alone", ""), ("beside", "interactive"), ("beside a batch job", "batch")):
        while len(seen[name]) < count:
            job = large_job(priority) if priority else ""
            while job and state(job) == "queued":
                time.sleep(0.02)
            while len(seen[name]) < count and (not job or state(job) == "running"):
                seen[name].append(asker.seconds("denoise", small, noise=25))
            if job:
                asker.client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=55"})
    table = common.Table(
        f"A request of {SMALL[0]}x{SMALL[1]} pixels while {LARGE[0]}x{LARGE[1]} are restored "
        f"({whole:.1f} s alone), {count} requests each",
        ("large picture", "p50, ms", "p95, ms", "worst, ms"),
        digits=0,
    )
    for name, values in seen.items():
        ms = sorted(1e3 * v for v in values)
        table.add({"alone": "none"}.get(name, name), statistics.median(ms), ms[int(0.95 * (len(ms) - 1))], ms[-1])
    return table, seen


def canceling(asker: Asker, count: int) -> common.Table:
    """How long it takes to cancel queued jobs: those that wait behind the sixteen that run."""
    jobs = [asker.restore("denoise", picture(SMALL), "respond-async", noise=25).json()["id"] for _ in range(count + 16)]
    seconds = []
    for job in reversed(jobs):
        start = time.perf_counter()
        answer = asker.client.post(f"/v1/jobs/{job}/cancel")
        if answer.status_code == 202 and answer.json()["state"] == "canceled":
            seconds.append(1e3 * (time.perf_counter() - start))
    table = common.Table("Cancelling a queued job, over HTTP", ("jobs", "p50, ms", "p95, ms", "worst, ms"), digits=1)
    seconds.sort()
    if seconds:
        table.add(len(seconds), statistics.median(seconds), seconds[int(0.95 * (len(seconds) - 1))], seconds[-1])
    return table


def tiles(rounds: int, side: int) -> common.Table:
    """The prior on its own: tiles in one call, and tiles in threads of their own, against one after the other."""
    threads = torch.get_num_threads()
    table = common.Table(
        f"Tiles of {side}x{side} pixels on the CPU ({threads} threads), medians of {rounds} rounds side by side",
        ("precision", "how", "ms a tile", "against one by one", "the same bits"),
    )
    for precision in ("fp32", "bf16"):
        network = load_denoiser(device="cpu", runtime=f"torch:{precision}").denoiser  # type: ignore[attr-defined]
        xs = [torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(i)) for i in range(max(ROWS))]
        runs = ways(network, xs, threads)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        answers = {name: run() for name, run in runs.items()}
        for _ in range(rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(1e3 * (time.perf_counter() - start) / len(xs))
        base = answers["one by one"]
        for name, values in seconds.items():
            same = all(torch.equal(a, b) for a, b in zip(base, answers[name], strict=True))
            ratio = statistics.median(b / a for a, b in zip(values, seconds["one by one"], strict=True))
            table.add(precision, name, statistics.median(values), ratio, "yes" if same else "no")
    return table


def ways(network: Any, xs: list[torch.Tensor], threads: int) -> dict[str, Callable[[], list[torch.Tensor]]]:
    """Ways to denoise the same tiles."""
    sigma = torch.full((1,), 0.2)

    def batched(rows: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        parts = [xs[i : i + rows] for i in range(0, len(xs), rows)]
        with torch.no_grad():
            return [row for part in parts for row in network(torch.cat(part), sigma.expand(len(part))).split(1)]

    def single(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answer: torch.Tensor = network(x, sigma)
            return answer

    def lanes(count: int) -> list[torch.Tensor]:
        with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(max(1, threads // count))) as pool:
            return list(pool.map(single, xs))

    found: dict[str, Callable[[], list[torch.Tensor]]] = {
        "one by one" if rows == 1 else f"{rows} in a call": (lambda rows=rows: batched(rows)) for rows in ROWS
    }
    for count in LANES:
        found[f"{count} threads, a tile each"] = lambda count=count: lanes(count)
    return found


def plot(out: Path, latencies: dict[str, list[float]]) -> None:
    """Latencies as distributions."""
    with plots.figure(out, "batching", (6.0, 3.5)) as figure:
        axes = figure.add_subplot(1, 1, 1)
        for name, values in latencies.items():
            axes.step(sorted(1e3 * v for v in values), np.linspace(0, 1, len(values)), label=name, where="post")
        axes.set_xlabel("ms of a small request")
        axes.set_ylabel("share of requests")
        axes.legend()


def measure(options: argparse.Namespace) -> tuple[list[common.Table], list[str]]:
    """The tables of a part, and what to say about them."""
    if options.part == "tiles":
        return [tiles(options.rounds, options.tile)], []
    settings = {"requests_per_minute": 1_000_000}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.prior, **settings) as server:
        asker = Asker(server)
        with asker.client:
            if options.part == "throughput":
                told = (
                    "on a CPU a call holds one tile, so that a result has the same bits alone and in company; what is "
                    "gained at once is decoding and encoding beside the network, nothing else"
                )
                return [throughput(asker, options.tasks, options.rounds, options.at_once)], [told]
            latency, seen = beside_a_large_one(asker, options.requests)
            canceled = canceling(asker, options.requests)
    plot(options.out, seen)
    return [latency, canceled], []


def main() -> None:
    """Run a part and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["throughput", "latency", "tiles"])
    parser.add_argument("--out", type=Path, default=common.ROOT / "benchmarks" / "results")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=("denoise",), choices=tuple(TASKS))
    parser.add_argument("--at-once", type=int, default=REQUESTS, help="requests, one at a time and all at once")
    parser.add_argument("--requests", type=int, default=40, help="small ones beside a large one")
    parser.add_argument("--tile", type=int, default=256, help="side of the tiles that are computed without a server")
    parser.add_argument("--prior", choices=["embedded", "trivial"], default="embedded")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    facts = common.circumstances(load_denoiser(device="cpu"))
    options.out.mkdir(parents=True, exist_ok=True)
    tables, notes = measure(options)
    notes.append(f"load average before: {busy:.1f}, after: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    common.report_part(options.out, "batching", "Batching", options.part, tables, notes, facts)


if __name__ == "__main__":
    main()
