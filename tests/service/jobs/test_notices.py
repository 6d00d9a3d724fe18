"""What one server writes into PostgreSQL, the others hear of at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import create_engine, text

from service.jobs import notices
from service.jobs.model import NewJob
from service.jobs.notices import Kind, Notice
from service.jobs.sql import SqlJobStore
from service.jobs.store import Outcome

New = Callable[..., NewJob]
TOLD = {"step": 1, "steps": 2, "fraction": 0.5}
Hearing = Callable[[Callable[[list[Notice]], Awaitable[None]]], None]


@pytest.fixture
def hearing(stores: Callable[[], SqlJobStore]) -> Hearing:
    """Runs a test beside another server that listens."""

    def run(test: Callable[[list[Notice]], Awaitable[None]]) -> None:
        async def limited() -> None:
            heard: list[Notice] = []
            other = asyncio.create_task(stores().listen(heard.append))
            try:
                async with asyncio.timeout(30):
                    await until(lambda: heard)  # the connection stands
                    await test(heard)
            finally:
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)

        asyncio.run(limited())

    return run


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_each_change_of_a_job_is_heard(
    hearing: Hearing, store: SqlJobStore, new_job: New, outcome: Callable[..., Outcome]
) -> None:
    async def test(heard: list[Notice]) -> None:
        job_id = store.submit(new_job(), 10).job.id
        steps: list[tuple[Kind, Callable[[], object]]] = [
            (Kind.WORK, lambda: None),
            (Kind.NEWS, lambda: (store.claim("w", 30, 1), store.started(job_id, 1, "cpu", 1))),
            (Kind.NEWS, lambda: store.progress(job_id, 1, TOLD)),
            (Kind.NEWS, lambda: store.show(job_id, 1, {})),
            (Kind.WORK, lambda: store.release(job_id, 1, blame=False, retention_seconds=60)),
            (Kind.STOP, lambda: (store.claim("w", 30, 1), store.cancel(job_id, 60))),
            (Kind.END, lambda: store.succeed(job_id, 2, outcome(), 60)),
        ]
        for kind, change in steps:
            change()
            await until(lambda kind=kind: Notice(kind, job_id) in heard)
            heard.clear()

    hearing(test)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_refused_write_tells_nothing(hearing: Hearing, store: SqlJobStore, new_job: New) -> None:
    async def test(heard: list[Notice]) -> None:
        job_id = store.submit(new_job(), 10).job.id
        await until(lambda: Notice(Kind.WORK, job_id) in heard)
        heard.clear()
        assert store.progress(job_id, 7, TOLD) is None
        other_id = store.submit(new_job(), 10).job.id  # notices keep their order
        await until(lambda: Notice(Kind.WORK, other_id) in heard)
        assert {notice.job_id for notice in heard} == {other_id}

    hearing(test)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_lost_connection_is_opened_again(
    hearing: Hearing, url: str, store: SqlJobStore, new_job: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "AGAIN_SECONDS", 0.05)

    async def test(heard: list[Notice]) -> None:
        heard.clear()
        engine = create_engine(url)
        with engine.begin() as connection:
            listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN pellucid'"
            assert connection.execute(text(listeners)).scalars().all() == [True]
        engine.dispose()
        await until(lambda: Notice(Kind.MISSED, "") in heard)
        job_id = store.submit(new_job(), 10).job.id
        await until(lambda: Notice(Kind.WORK, job_id) in heard)

    hearing(test)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sqlite_has_nothing_to_tell(store: SqlJobStore) -> None:
    asyncio.run(store.listen(lambda notice: None))


@pytest.mark.parametrize("url", ["mysql+pymysql://x/y", "postgresql+psycopg2://x/y"])
def test_other_databases_are_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql\+psycopg://"):
        SqlJobStore(url)
