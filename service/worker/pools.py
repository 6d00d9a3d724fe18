"""The pools of threads beside the step loop, and how many threads torch takes in them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def make_pools(names: Sequence[str], size: int, *, single: bool) -> list[ThreadPoolExecutor]:
    """Pools of `size` threads each.

    Args:
        names: of the threads.
        size: threads of a pool.
        single: each thread computes alone. For devices that are the same cores: OpenMP keeps a team of threads for
            every thread that asks for one, and once there are more of them than cores, libgomp lets none wait actively
            for the next loop. Every one of a network's some hundred loops then starts by waking a thread: a call of
            256x256 on two cores took 309 ms instead of 222. The calling thread keeps what torch takes in it now.
    """
    if not single:
        return [ThreadPoolExecutor(size, thread_name_prefix=name) for name in names]
    mine = torch.get_num_threads()
    started = threading.Barrier(size * len(names) + 1)
    pools = [ThreadPoolExecutor(size, thread_name_prefix=name, initializer=_compute_alone) for name in names]
    for pool in pools:
        for _ in range(size):
            pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(mine)  # some of it is of the process, not of the thread
    return pools


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread's first question is answered with the process's number, and that is kept
