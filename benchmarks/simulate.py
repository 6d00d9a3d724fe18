"""Queueing behaviour of 1 to 1,000 workers: latency percentiles, utilisation, refusals, and what sharing steps does.

The simulation is queueing.py. Its service times are measured on a real server at the start of the run, and its
percentiles are checked against that server under the same arrivals.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import plots
import real_server
from queueing import TRACES, Kind, System, percentile, poisson, rate_for, simulate

WORKERS = (1, 2, 10, 100, 1000)
LOADS = (0.5, 0.8, 0.95)
#: Of simulated time, at least: two rounds of bursts and calm. Few workers get as long as this many jobs take to come.
SECONDS, JOBS = 160.0, 10_000
#: Of a call's time, the part that does not grow with the tiles in it: what batching can save. A CPU has none.
FIXED_SHARES = (0.0, 0.3, 0.6, 0.9)
#: Of a large picture, where sharing is compared with waiting.
LARGE_TILES = 24


def main() -> None:
    """Measure, check, simulate, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=common.ROOT / "benchmarks" / "results")
    parser.add_argument("--measured", type=Path, help="take the real server's figures from an earlier simulate.json")
    parser.add_argument("--measure-only", action="store_true", help="write what the real server did and stop")
    parser.add_argument("--seconds", type=float, default=80.0, help="of each real run")
    options = parser.parse_args()
    if options.measured:
        real = real_server.Measured.read(options.measured)
    else:
        real = real_server.measure(TRACES, rate_for, options.seconds)
    if options.measure_only:
        real.write(options.out / "simulate_measured.json")
        return
    kinds = real.kinds
    tables = [kinds_table(kinds, real), check(real), *scale(kinds), sharing(kinds), batching(kinds)]
    facts = common.circumstances(None)
    if options.measured:
        facts["machine"], facts["date"] = real.machine, real.date
    common.report(options.out, "simulate", "Queueing of 1 to 1,000 workers", tables, notes(tables, real), facts)
    plot(tables[2], options.out)


def kinds_table(kinds: Sequence[Kind], real: real_server.Measured) -> common.Table:
    """What was measured on the idle server."""
    table = common.Table(
        "Service times, measured on an idle server: one CPU worker with one thread",
        ["kind", "share", "calls", "tiles", "ms a tile", "ms before", "ms after", "device seconds"],
    )
    for kind in kinds:
        table.add(
            kind.name, kind.share, kind.calls, kind.tiles, 1e3 * kind.tile_seconds, 1e3 * kind.before,
            1e3 * kind.after, kind.work,
        )  # fmt: skip
    return table


def check(real: real_server.Measured) -> common.Table:
    """The same arrivals, on the real server and simulated."""
    table = common.Table(
        "One worker, the same arrivals: seconds on the real server, and simulated",
        ["arrivals", "load", "jobs", "mean", "simulated", "p50", "simulated", "p95", "simulated", "p99", "simulated"],
    )
    by_name = {kind.name: kind for kind in real.kinds}
    for run in real.runs:
        took = [seconds for _, _, seconds in run.requests]
        simulated = simulate(System(1), _arrivals(run, by_name)).all
        cells: list[Any] = [run.trace, run.load, len(took), statistics.fmean(took), statistics.fmean(simulated)]
        for share in (0.5, 0.95, 0.99):
            cells += [percentile(took, share), percentile(simulated, share)]
        table.add(*cells)
    return table


def _arrivals(run: real_server.Run, kinds: dict[str, Kind]) -> list[tuple[float, Kind]]:
    return [(moment, kinds[name]) for moment, name, _ in sorted(run.requests)]


def scale(kinds: Sequence[Kind]) -> list[common.Table]:
    """Latency and refusals over the number of workers and their load."""
    tables = []
    for trace, arrive in TRACES.items():
        table = common.Table(
            f"{trace} arrivals: seconds over workers and load, all kinds",
            ["workers", "offered load", "jobs a second", "p50", "p95", "p99", "utilisation", "refused, %"],
        )
        for workers in WORKERS:
            for load in LOADS:
                rate = rate_for(load, kinds, workers)
                found = simulate(System(workers), arrive(rate, kinds, max(SECONDS, JOBS / rate), seed=1))
                spread = [percentile(found.all, share) for share in (0.5, 0.95, 0.99)]
                table.add(workers, load, rate, *spread, found.utilisation, 100.0 * found.refused)
        tables.append(table)
    return tables


def sharing(kinds: Sequence[Kind]) -> common.Table:
    """Step-level sharing against one job at a time."""
    kinds = [kinds[0], replace(kinds[1], tiles=LARGE_TILES)]
    small, large = (kind.name for kind in kinds)
    table = common.Table(
        f"One worker, Poisson, large jobs of {LARGE_TILES} tiles: tile by tile in turn, against one job at a time",
        ["load", "jobs at once", f"{small} p50", f"{small} p95", f"{large} p50", f"{large} p95"],
    )
    for load in (0.5, 0.8, 0.95):
        arrivals = poisson(rate_for(load, kinds, 1), kinds, 10_000.0, seed=2)
        for slots in (16, 1):
            found = simulate(System(1, slots, queue=10**9), arrivals).latencies
            table.add(load, slots, *(percentile(found[name], p) for name in (small, large) for p in (0.5, 0.95)))
    return table


def batching(kinds: Sequence[Kind]) -> common.Table:
    """What calls of up to eight tiles would do on devices that are better at many than at one."""
    table = common.Table(
        "Ten workers, Poisson, calls of up to 8 tiles, on assumed devices: of one tile's time, a share that a call "
        "pays only once",
        ["load without batching", "share paid once", "p50", "p95", "utilisation", "tiles in a call", "refused, %"],
    )
    for load in (0.8, 1.5, 3.0):
        arrivals = poisson(rate_for(load, kinds, 10), kinds, SECONDS, seed=3)
        for share in FIXED_SHARES:
            found = simulate(System(10, batch=8, fixed_share=share), arrivals)
            p50, p95 = percentile(found.all, 0.5), percentile(found.all, 0.95)
            table.add(load, share, p50, p95, found.utilisation, found.mean_batch, 100.0 * found.refused)
    return table


def notes(tables: Sequence[common.Table], real: real_server.Measured) -> list[str]:
    """What the tables say, with their own numbers."""
    far = max(abs(row[k + 1] / row[k] - 1.0) for row in tables[1].rows for k in (3, 5))
    tail = max(abs(row[k + 1] / row[k] - 1.0) for row in tables[1].rows for k in (7, 9))
    return [
        f"Simulated against real: mean and median are at most {far:.0%} off, p95 and p99 at most {tail:.0%}.",
        f"Calls of eight tiles take {real.eight_tiles:.2f} times as long as calls of one on this CPU: nothing to save "
        f"by batching, and so the server's CPU workers take one tile a call.",
        "Bursty arrivals come three times as fast for 20 s, then a third as fast for 60 s.",
        "A refused job is one that met 256 waiting ones (the default PELLUCID_MAX_QUEUE): one queue, however many "
        "workers. Raise it with their number.",
    ]


def plot(table: common.Table, out: Path) -> None:
    """The 95th percentile over the load, one line for each number of workers."""
    with plots.figure(out, "simulate", (6.0, 4.0)) as figure:
        axis = figure.subplots()
        for workers in WORKERS:
            rows = [row for row in table.rows if row[0] == workers]
            axis.plot([row[1] for row in rows], [row[4] for row in rows], "o-", label=f"{workers:,}")
        axis.set(xlabel="offered load", ylabel="p95 latency, seconds", yscale="log", title="Poisson arrivals")
        axis.legend(title="workers")
        axis.grid(alpha=0.3)


if __name__ == "__main__":
    main()
