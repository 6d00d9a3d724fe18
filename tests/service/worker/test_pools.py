"""Beside a CPU's step loop a thread computes alone, and takes nothing of the loop's threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from service.worker.pools import make_pools


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads(single: bool) -> set[int]:
    """What torch takes in the threads of two pools, asked after some work."""
    pools = make_pools(("a", "b"), 2, single=single)
    found = set()
    for pool in pools:
        for _ in range(8):
            pool.submit(lambda: torch.ones(1 << 20).mul_(2).sum()).result()
            found.add(pool.submit(torch.get_num_threads).result())
        pool.shutdown()
    return found


def test_threads_of_a_pool_compute_alone() -> None:
    assert threads(single=True) == {1}
    assert torch.get_num_threads() == 2


def test_beside_another_device_they_compute_together() -> None:
    assert threads(single=False) == {2}
