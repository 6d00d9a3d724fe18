"""Refusing a crowd from memory (R10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.jobs.model import NewJob
from service.problems import Code, Problem

Open = Callable[..., Any]
New = Callable[..., NewJob]
Run = Callable[[Callable[[], Awaitable[None]]], None]


async def refusal(service: Any, ahead: int = 0) -> Problem:
    with pytest.raises(Problem) as caught:
        await service.admit(ahead)
    assert caught.value.code is Code.SATURATED
    return caught.value


def test_a_crowd_is_refused_without_asking_the_database_each_time(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=0, max_queue=2) as service:
            for _ in range(2):
                await service.submit(new_job(service))
            await refusal(service)
            await asyncio.sleep(0.15)
            asked: list[str] = []
            database = service._database

            async def counting(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                asked.append(function.__name__)
                await asyncio.sleep(0.5)  # a database that is busy holds up nobody who is refused
                return await database(function, *args, **kwargs)

            service._admission._database = counting
            async with asyncio.timeout(0.4):
                for _ in range(300):
                    assert 1 <= (await refusal(service)).retry_after <= 120
            assert len(asked) <= 2

    run(test)


def test_room_that_another_server_has_made_is_found(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=0, max_queue=1) as service:
            await service.submit(new_job(service))
            await refusal(service)
            service.store.claim("another server", 600.0, 1)
            async with asyncio.timeout(5):
                while True:
                    try:
                        await service.admit()
                        break
                    except Problem:
                        await asyncio.sleep(0.02)

    run(test)


def test_those_on_their_way_to_the_queue_take_its_places_but_not_those_of_free_slots(
    serving: Open, new_job: New, run: Run
) -> None:
    async def test() -> None:
        async with serving(slots=3, max_queue=2) as service:
            await service.admit(4)  # three start, one waits, and so does this one
            await refusal(service, 5)
            for _ in range(3):
                await service.submit(new_job(service, parameters={"steps": 100, "seconds": 0.05}))
            await service.admit(1)
            await refusal(service, 2)

    run(test)
