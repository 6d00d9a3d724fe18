"""Two workers against one, and replicas of a Ray cluster killed under load: real server processes, the embedded prior.

python benchmarks/scale.py throughput [--rounds 3]
python benchmarks/scale.py recovery [--kills 8]

Each part goes into results/scale.json; results/scale.md is made of what is there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from common import ROOT, Table, circumstances
from PIL import Image
from serving import Running, serving
from sqlalchemy import create_engine, text

SIDE, STEPS = 128, 4
#: Ray's own: its processes give way to all others by default, and that is not what is measured here.
RAY = {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def picture(seed: int) -> bytes:
    """A noisy gradient, PNG."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, SIDE)[None, :, None] + np.zeros((SIDE, 1, 3))
    pixels = np.clip(ramp + 25 * rng.standard_normal(ramp.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def submit(client: httpx.Client, seed: int) -> str:
    """The id of a new job."""
    answer = client.post(
        "/v1/denoise", params={"noise": 25, "fidelity": 0.0, "steps": STEPS, "seed": seed}, content=picture(seed),
        headers={"Content-Type": "image/png", "Prefer": "respond-async"},
    )  # fmt: skip
    answer.raise_for_status()
    job_id: str = answer.json()["id"]
    return job_id


def until_ended(client: httpx.Client, jobs: list[str]) -> list[dict[str, Any]]:
    """The jobs, once all have ended."""
    return [client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=300"}).json() for job in jobs]


def throughput(rounds: int, jobs: int) -> dict[str, Any]:
    """Jobs a second with one worker and with two, in turn, one thread each."""
    rates: dict[str, list[float]] = {"cpu": [], "cpu,cpu": []}
    with ExitStack() as stack:
        clients = {}
        for devices in rates:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            running = stack.enter_context(serving(folder, devices=devices, threads=1, jobs_at_once=4, runtime="torch"))
            clients[devices] = stack.enter_context(httpx.Client(base_url=running.url, timeout=600.0))
            workers = devices.count("cpu")
            while clients[devices].get("/readyz?verbose").text.count('"ready"') < workers + 1:
                time.sleep(0.2)
            until_ended(clients[devices], [submit(clients[devices], seed) for seed in range(2 * workers)])
        for _ in range(rounds):
            for devices, client in clients.items():
                begun = time.perf_counter()
                ended = until_ended(client, [submit(client, seed) for seed in range(jobs)])
                rates[devices].append(jobs / (time.perf_counter() - begun))
                assert {job["state"] for job in ended} == {"succeeded"}
    ratios = [two / one for one, two in zip(rates["cpu"], rates["cpu,cpu"], strict=True)]
    return {
        "rates": rates, "ratios": ratios, "median_ratio": statistics.median(ratios), "rounds": rounds, "jobs": jobs,
        "load_average": os.getloadavg(),
    }  # fmt: skip


def replicas(server: Running) -> list[int]:
    """Processes of Ray Serve replicas below a server that started its own cluster."""
    parents, lines = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(entry.name)] = (entry / "cmdline").read_bytes()
        except OSError:
            continue
    found, fresh = [], [server.process.pid]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        found += [pid for pid in fresh if lines.get(pid, b"").startswith(b"ray::ServeReplica")]
    return found


def recovery(kills: int, seconds: float) -> dict[str, Any]:
    """Kill a replica of two, again and again, while jobs keep coming; no more kills after some seconds."""
    begun = time.monotonic()
    rng, jobs, moments = random.Random(0), [], []
    os.environ.update(RAY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"engine": "ray", "devices": "cpu", "ray_replicas": 2, "ray_cpus": 0.5, "threads": 1,
                    "jobs_at_once": 4, "runtime": "torch"}  # fmt: skip
        with serving(folder, **settings) as running, httpx.Client(base_url=running.url, timeout=600.0) as client:
            while "2 of 2" not in client.get("/readyz?verbose").text:
                time.sleep(0.2)
            for kill in range(kills):
                if moments and time.monotonic() - begun > seconds:
                    break
                batch = [submit(client, 100 * kill + seed) for seed in range(8)]
                jobs += batch
                while not any(client.get(f"/v1/jobs/{job}").json()["state"] == "running" for job in batch):
                    time.sleep(0.02)
                time.sleep(rng.uniform(0.2, 1.0))
                victims = replicas(running)
                moments.append(time.time())
                os.kill(rng.choice(victims), signal.SIGKILL)
                until_ended(client, batch)
                while "2 of 2" not in client.get("/readyz?verbose").text or len(replicas(running)) < 2:
                    time.sleep(0.1)
            ended = until_ended(client, jobs)
            told = history(folder / "pellucid.db")
    return judge(ended, told, moments)


def history(database: Path) -> list[tuple[str, int, str, float]]:
    """(job, id, type, seconds since 1970) of every event."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT job_id, id, type, created_at FROM events ORDER BY job_id, id")).all()
    engine.dispose()
    return [(row[0], row[1], row[2], datetime.fromisoformat(f"{row[3]}+00:00").timestamp()) for row in rows]


def judge(ended: list[dict[str, Any]], told: list[tuple[str, int, str, float]], moments: list[float]) -> dict[str, Any]:
    """What became of the jobs, and how long after a kill the interrupted ones were worked on again."""
    waits = []
    for job in ended:
        events = [event for event in told if event[0] == job["id"]]
        assert sum(event[2] == "completed" for event in events) == 1
        for lost, again in pairwise(events):
            if lost[2] == "warning" and again[2] == "started":
                kill = max(moment for moment in moments if moment <= lost[3])
                waits.append(again[3] - kill)
    states = [job["state"] for job in ended]
    return {
        "kills": len(moments), "jobs": len(ended), "succeeded": states.count("succeeded"), "interrupted": len(waits),
        "waits": sorted(waits), "median": statistics.median(waits), "p99": float(np.percentile(waits, 99)),
        "longest": max(waits), "load_average": os.getloadavg(),
    }  # fmt: skip


def tables(stored: dict[str, Any]) -> list[Table]:
    """What there is."""
    made = []
    if found := stored.get("throughput"):
        table = Table(
            "Throughput of one worker and of two, one thread each", ["", "jobs/s, median", "least", "most"], 3
        )
        for devices, rates in found["rates"].items():
            table.add(f"{devices.count('cpu')} worker(s)", statistics.median(rates), min(rates), max(rates))
        table.add("ratio (bar: 1.6)", found["median_ratio"], min(found["ratios"]), max(found["ratios"]))
        made.append(table)
    if found := stored.get("recovery"):
        table = Table("A replica of two killed under load, again and again", ["", "value"], 2)
        for name in ("kills", "jobs", "succeeded", "interrupted"):
            table.add(name, found[name])
        for name in ("median", "p99", "longest"):
            table.add(f"{name}: seconds from the kill until an interrupted job is worked on again", found[name])
        made.append(table)
    return made


def main() -> None:
    """Measure a part and report all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["throughput", "recovery"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=24, help="of one measurement of throughput")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=200.0, help="no more kills after so many")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    path = options.out / "scale.json"
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    measured = (
        throughput(options.rounds, options.jobs)
        if options.part == "throughput"
        else recovery(options.kills, options.seconds)
    )
    stored[options.part] = {**measured, "circumstances": circumstances(None)}
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=2) + "\n")
    lines = ["# More workers, and fewer", *(table.markdown() for table in tables(stored))]
    for part, found in stored.items():
        facts = found["circumstances"]
        where, load = facts["machine"], found["load_average"][0]
        lines.append(
            f"{part}: {SIDE} x {SIDE} pixels, {STEPS} steps, embedded prior; {facts['date']}, revision "
            f"{facts['revision']}, {where['cpu']}, {where['cores']} cores shared with the server and with others (load "
            f"average {load:.1f} at the end); python {facts['packages']['python']}, torch "
            f"{facts['packages']['torch']}; `{facts['command']}`"
        )
    text_ = "\n\n".join(lines) + "\n"
    (options.out / "scale.md").write_text(text_)
    print(text_)


if __name__ == "__main__":
    main()
