"""The server's application: `uvicorn service.app:app`, or `create_app` for one's own settings and parts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.core import Service
    from service.intake.protocol import Intake
    from service.observability.tracing import Tracing
    from service.settings import Settings


def create_app(
    settings: Settings | None = None,
    service: Service | None = None,
    intake: Intake | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The application; nothing is opened or started before its lifespan begins.

    Args:
        settings: read from the environment by default.
        service: jobs over a store, blobs and an engine; made from the settings by default.
        intake: examines pictures; made from the settings by default.
        tracing: makes spans; as the environment says by default. A given service has its own.

    Raises:
        pydantic.ValidationError: a setting is wrong.
    """
    import anyio
    from fastapi import FastAPI

    from service import __version__
    from service.doors import inference, webui
    from service.doors.schemas import ExtrasRequest
    from service.http import errors, events, health, jobs, models, openapi, page, restore, results, uploads
    from service.http.draining import LastAnswers
    from service.http.request_id import RequestId
    from service.observability.metrics import Metrics
    from service.observability.tracing import create_tracing
    from service.protection import middleware
    from service.settings import Settings

    del events
    chosen = settings if settings is not None else Settings()
    metrics: Metrics = service.metrics if service is not None else Metrics()
    spans = tracing if tracing is not None else create_tracing(chosen.offline)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = _parts(chosen, service, intake, metrics, spans)
        app.state.parts = parts
        await parts.intake.start()
        await parts.service.start()
        parts.drain.install(parts.service.drain, parts.service.hurry)
        try:
            yield
        finally:
            parts.drain.begun.set()
            if not parts.drain.over.is_set():
                await parts.service.drain()
                parts.drain.over.set()
            if service is None:  # a given one is its giver's to close
                await parts.service.close()
            await parts.intake.stop()
            await anyio.to_thread.run_sync(parts.pulls.close)
            parts.drain.restore()
            await anyio.to_thread.run_sync(spans.close)

    app = FastAPI(title="Pellucid", version=__version__, lifespan=lifespan, redoc_url=None, redirect_slashes=False)
    app.state.settings = chosen
    routers = [module.router for module in (restore, jobs, results, uploads, models, health, page, inference, webui)]
    for router in routers:
        app.include_router(router)
    errors.install(app, [route for router in routers for route in router.routes])
    openapi.install(app, auth=chosen.keys_required, bodies=[ExtrasRequest])
    if chosen.metrics:
        app.add_route("/metrics", metrics.answer, methods=["GET"], include_in_schema=False)

    async def admit() -> None:
        await app.state.parts.service.admit(app.state.parts.arriving)

    middleware.install(app, chosen, metrics, admit)
    app.add_middleware(LastAnswers)
    spans.install(app)
    app.add_middleware(RequestId)
    return app


def _parts(settings: Settings, service: Service | None, intake: Intake | None, metrics: Any, tracing: Any) -> Any:
    """Belongs into the running loop: locks and events are made here."""
    import anyio

    from service.http.draining import Drain
    from service.http.parts import Parts
    from service.http.pictures import Reader
    from service.http.waiting import Waiters
    from service.protection.addresses import AddressGuard, networks
    from service.webhooks.admission import WebhookTargets

    if service is None:
        service = import_module("service.application").create_service(settings, metrics, tracing)
    if intake is None:
        intake = import_module("service.intake.examine").create_intake(settings)
    assert service is not None
    assert intake is not None
    drain = Drain()
    return Parts(
        settings=settings,
        service=service,
        intake=intake,
        drain=drain,
        waiters=Waiters(service, drain),
        reader=Reader(settings, intake, service.store, service.blobs),
        intake_slots=anyio.Semaphore(max(2, os.cpu_count() or 2)),
        webhooks=WebhookTargets(AddressGuard(settings.offline, networks(settings.allowed_addresses))),
    )


def __getattr__(name: str) -> Any:
    """`app`, made when a server asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service.http.listening import refuse_several_processes

    refuse_several_processes()
    globals()["app"] = create_app()
    return globals()["app"]
