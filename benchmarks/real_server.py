"""A real server on this machine, under arrivals of choice: what simulate.py is measured by and checked against."""

from __future__ import annotations

import asyncio
import io
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common
import httpx
import numpy as np
import torch
from PIL import Image
from queueing import Kind
from serving import serving

IDLE_ROUNDS = 8


#: Name, share of the arrivals, side of the picture, and what is asked: eight calls of one tile, or one call of several.
ASKED: tuple[tuple[str, float, int, dict[str, str]], ...] = (
    ("small", 0.9, 24, {"task": "super-resolve", "scale": "4", "noise": "0"}),
    ("large", 0.1, 384, {"task": "denoise", "noise": "25"}),
)


@dataclass(frozen=True)
class Run:
    """One open-loop run: (second of the arrival, kind, seconds until the answer) of every request."""

    trace: str
    load: float
    requests: list[tuple[float, str, float]]


@dataclass(frozen=True)
class Measured:
    """What the real server did.

    Attributes:
        kinds: their service times on an idle server.
        runs: under load.
        eight_tiles: time of a call of eight tiles over that of one.
    """

    kinds: list[Kind]
    runs: list[Run]
    eight_tiles: float
    machine: dict[str, Any]
    date: str

    def write(self, path: Path) -> None:
        """Store it."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Measured:
        """What `write` has stored."""
        stored = json.loads(path.read_text())
        kinds = [Kind(**kind) for kind in stored["kinds"]]
        runs = [Run(run["trace"], run["load"], [tuple(r) for r in run["requests"]]) for run in stored["runs"]]
        return cls(kinds, runs, stored["eight_tiles"], stored["machine"], stored["date"])


def measure(
    traces: Mapping[str, Callable[..., list[tuple[float, Kind]]]],
    rate_for: Callable[[float, Sequence[Kind], int], float],
    seconds: float,
) -> Measured:
    """Start a server, measure it idle, then under each kind of arrivals at 70 % load."""
    eight = batching_gain()
    settings = {"devices": "cpu", "threads": 1, "requests_per_minute": 1_000_000, "jobs_per_key": 1_000_000}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **settings) as server:
        address = server.url
        kinds = [idle(address, *asked) for asked in ASKED]
        runs = []
        for seed, (name, arrive) in enumerate(traces.items()):
            arrivals = arrive(rate_for(0.7, kinds, 1), kinds, seconds, seed)
            took = asyncio.run(offer(address, arrivals))
            runs.append(Run(name, 0.7, took))
    facts = common.circumstances(None)
    return Measured(kinds, runs, eight, facts["machine"], facts["date"])


def picture(side: int) -> bytes:
    """A PNG of smooth waves and noise 25."""
    ramp = np.linspace(0.0, 6.0, side)
    waves = 127.5 + 80.0 * np.sin(ramp[:, None, None] + ramp[None, :, None] * np.array([1.0, 2.0, 3.0]))
    noisy = waves + np.random.default_rng(0).normal(0.0, 25.0, waves.shape)
    stream = io.BytesIO()
    Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(stream, "png")
    return stream.getvalue()


def idle(address: str, name: str, share: float, side: int, fields: dict[str, str]) -> Kind:
    """A kind's service times: medians of requests one after another, from the server's own Server-Timing."""
    body = picture(side)
    found: list[dict[str, float]] = []
    with httpx.Client(timeout=600.0) as client:
        tiles = 0.0
        for round_ in range(IDLE_ROUNDS):
            before = counters(client, address)
            start = time.perf_counter()
            answer = client.post(f"{address}/restore", files={"image": body}, data=fields)
            total = time.perf_counter() - start
            answer.raise_for_status()
            time.sleep(1.5)  # workers report once a second
            after = counters(client, address)
            tiles = after["pellucid_batch_size_sum"] - before["pellucid_batch_size_sum"]
            if round_:  # the first one warms up
                timing = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["Server-Timing"]))
                stages = {stage: float(value) / 1e3 for stage, value in timing.items()}
                found.append({"total": total, **stages})
    median = {key: statistics.median(each[key] for each in found) for key in found[0]}
    steps = 8 if fields["task"] == "super-resolve" else 1
    after_device = median["encode"]
    return Kind(
        name, share, steps, round(tiles / steps), median["restore"] / tiles,
        before=max(0.0, median["total"] - median["restore"] - after_device), after=after_device,
    )  # fmt: skip


def counters(client: httpx.Client, address: str) -> dict[str, float]:
    """Metrics without labels."""
    lines = client.get(f"{address}/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if re.match(r"pellucid_\w+ ", line))}


async def offer(address: str, arrivals: Sequence[tuple[float, Kind]]) -> list[tuple[float, str, float]]:
    """Send every request at its moment, whatever the others are doing (an open loop)."""
    fields = {name: (picture(side), asked) for name, _, side, asked in ASKED}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=600.0, limits=limits) as client:
        begun = time.perf_counter()

        async def ask(moment: float, name: str) -> tuple[float, str, float]:
            await asyncio.sleep(max(0.0, begun + moment - time.perf_counter()))
            start = time.perf_counter()
            body, asked = fields[name]
            answer = await client.post(f"{address}/restore", files={"image": body}, data=asked)
            answer.raise_for_status()
            return start - begun, name, time.perf_counter() - start

        return await asyncio.gather(*(ask(moment, kind.name) for moment, kind in arrivals))


def batching_gain() -> float:
    """Time of a call of eight 96x96 tiles over that of one, by medians side by side."""
    from models.registry import load_denoiser

    torch.set_num_threads(1)
    denoiser = load_denoiser(device="cpu")
    seconds: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(4):
        for rows in seconds:
            x = torch.randn(rows, 3, 96, 96)
            start = time.perf_counter()
            denoiser(x, torch.full((rows,), 0.2))
            seconds[rows].append(time.perf_counter() - start)
    return statistics.median(seconds[8][1:]) / statistics.median(seconds[1][1:])
