"""What the application opens, it closes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings


@pytest.mark.parametrize("given", [False, True])
def test_a_store_is_closed_by_whoever_opened_it(
    settings: Settings, service: Any, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(service, "close", close, raising=False)
    monkeypatch.setattr("service.application.create_service", lambda *_: service)
    app = create_app(settings, service if given else None, Intake())

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert closed == []

    asyncio.run(live())
    assert bool(closed) is not given


class Intake:
    """Examines nothing."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
