"""Blocking calls from the event loop: one small pool of threads for the database, one for the files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking functions in threads of its own, so that nothing else that blocks can hold them up.

    Args:
        name: of the threads.
        number: of the threads.
    """

    def __init__(self, name: str, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, name)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's answer. Cancelling the caller does not stop a function that has begun."""
        call = partial(copy_context().run, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        self._pool.shutdown()
