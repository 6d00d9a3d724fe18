import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from queueing import BURST_FACTOR, Kind, System, bursty, percentile, poisson, rate_for, simulate

ONE = Kind("one", 1.0, calls=1, tiles=1, tile_seconds=1.0, before=0.0, after=0.0)
SMALL = Kind("small", 0.9, calls=8, tiles=1, tile_seconds=0.1, before=0.05, after=0.02)
LARGE = Kind("large", 0.1, calls=1, tiles=50, tile_seconds=0.1, before=0.5, after=0.2)


def test_a_job_alone_takes_what_it_takes():
    found = simulate(System(1), [(3.0, SMALL)])
    assert found.latencies["small"] == [pytest.approx(0.05 + 8 * 0.1 + 0.02)]


def test_the_mean_is_that_of_pollaczek_and_khinchine():
    # M/D/1 at 80 %: service 1, waiting rho / (2 (1 - rho)) = 2.
    found = simulate(System(1, slots=1, queue=10**9), poisson(0.8, [ONE], 40_000.0, seed=0))
    assert statistics.fmean(found.all) == pytest.approx(3.0, rel=0.05)
    assert found.utilisation == pytest.approx(0.8, rel=0.02)


def test_sharing_tile_by_tile_does_not_change_the_work_but_spares_small_jobs_the_large_ones():
    arrivals = poisson(rate_for(0.7, (SMALL, LARGE), 1), (SMALL, LARGE), 3000.0, seed=1)
    shared = simulate(System(1, slots=16), arrivals)
    alone = simulate(System(1, slots=1, queue=10**9), arrivals)
    assert shared.utilisation == pytest.approx(alone.utilisation, rel=0.05)
    assert percentile(shared.latencies["small"], 0.95) < 0.6 * percentile(alone.latencies["small"], 0.95)


def test_a_large_job_takes_every_other_tile_at_most():
    found = simulate(System(1), [(0.0, LARGE), (1.0, SMALL)])
    assert found.latencies["small"][0] <= 0.07 + 2 * 8 * 0.1 + 0.1 + 1e-9


def test_what_does_not_fit_into_the_queue_is_refused():
    found = simulate(System(1, slots=2, queue=3), [(0.0, ONE)] * 10)
    assert found.refused == pytest.approx(0.5)
    assert len(found.all) == 5


def test_jobs_spread_over_the_workers():
    found = simulate(System(5), [(0.0, ONE)] * 5)
    assert found.all == [1.0] * 5 and found.utilisation == pytest.approx(1.0)


def test_batches_pay_the_fixed_share_once():
    found = simulate(System(1, batch=4, fixed_share=0.6), [(0.0, ONE)] * 5)
    # The first comes alone; the other four share a call: 0.6 + 0.4 x 4.
    assert found.all == pytest.approx([1.0] + [3.2] * 4)
    assert found.mean_batch == pytest.approx(2.5)


def test_bursts_keep_the_mean_rate():
    arrivals = bursty(10.0, [ONE], 8000.0, seed=0)
    assert len(arrivals) / 8000.0 == pytest.approx(10.0, rel=0.03)
    in_bursts = sum(moment % 80.0 < 20.0 for moment, _ in arrivals) / 2000.0
    assert in_bursts == pytest.approx(10.0 * BURST_FACTOR, rel=0.03)


def test_percentile_is_the_nearest_rank():
    assert [percentile([3, 1, 2, 4], share) for share in (0.01, 0.5, 0.75, 0.76, 1.0)] == [1, 2, 3, 4, 4]
