"""Carry out operations: one driver blocks, the other awaits. Nothing is decided here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

from pellucid_client._effects import Blocking, Close, Effect, Emit, Open, Operation, Read, Request, Send, Sleep
from pellucid_client._errors import APIConnectionError, APITimeoutError
from pellucid_client._http import http
from pellucid_client._response import Response
from pellucid_client._settings import Server

T = TypeVar("T")


def _translated(error: http.RequestError, server: Server) -> APIConnectionError:
    """The HTTP library's errors in our words."""
    what = str(error) or type(error).__name__
    if isinstance(error, http.ConnectTimeout | http.ConnectError):
        return APIConnectionError(f"cannot reach {server.base_url} ({what}); is the server running?")
    if isinstance(error, http.TimeoutException):
        return APITimeoutError(f"{server.base_url} does not answer ({what})")
    return APIConnectionError(f"the connection to {server.base_url} broke ({what})")


def _made(response: http.Response, content: bytes, began: float) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, content, time.monotonic() - began)


class Driver:
    """Blocks.

    Args:
        server: where requests go.
        client: of the HTTP library.
    """

    def __init__(self, server: Server, client: http.Client) -> None:
        self.server, self.client = server, client

    def run(self, operation: Operation[T]) -> T:
        """Carry out an operation that emits nothing."""
        return _Run(self).finish(operation)

    def iterate(self, operation: Operation[Any]) -> Iterator[Any]:
        """Carry out an operation, yielding what it emits. Closing the iterator closes the connection."""
        yield from _Run(self).steps(operation)


class _Run:
    """One operation, and the body it has open."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._open: http.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def finish(self, operation: Operation[T]) -> T:
        steps = self.steps(operation)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            value: T = end.value
            return value

    def steps(self, operation: Operation[T]) -> Generator[Any, None, T]:
        outcome: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    effect = operation.send(outcome) if error is None else operation.throw(error)
                except StopIteration as end:
                    value: T = end.value
                    return value
                outcome, error = None, None
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    outcome = self._perform(effect)
                except BaseException as raised:
                    error = raised
        finally:
            self._close()
            operation.close()

    def _perform(self, effect: Effect) -> Any:
        try:
            match effect:
                case Send(request, timeout):
                    return self._send(request, timeout)
                case Open(request, silence):
                    return self._begin(request, silence)
                case Read():
                    return self._read()
                case Close():
                    return self._close()
                case Sleep(seconds):
                    return time.sleep(seconds)
                case Blocking(function):
                    return function()
                case _:
                    raise AssertionError(effect)
        except http.RequestError as error:
            self._close()
            raise _translated(error, self._driver.server) from error

    def _send(self, request: Request, timeout: float | None) -> Response:
        began = time.monotonic()
        if timeout is not None and timeout <= 0:
            raise APITimeoutError("no time is left for the request")
        built = self._driver.server.build(request, timeout)
        response = self._driver.client.send(built, stream=True)
        try:
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                # A read's own limit does not stop an answer that comes drop by drop.
                if timeout is not None and time.monotonic() - began > timeout:
                    raise APITimeoutError(f"the answer was not complete after {timeout:.3g} s")
        finally:
            response.close()
        return _made(response, bytes(content), began)

    def _begin(self, request: Request, silence: float) -> Response:
        began = time.monotonic()
        response = self._driver.client.send(self._driver.server.build(request, None, silence), stream=True)
        self._open = response
        if response.status_code == 200:
            self._pieces = response.iter_bytes()
            return _made(response, b"", began)
        content = response.read()
        self._close()
        return _made(response, content, began)

    def _read(self) -> bytes:
        piece = next(self._pieces, b"")
        if not piece:
            self._close()
        return piece

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._pieces = None, iter(())


class AsyncDriver:
    """Awaits.

    Args:
        server: where requests go.
        client: of the HTTP library.
    """

    def __init__(self, server: Server, client: http.AsyncClient) -> None:
        self.server, self.client = server, client

    async def run(self, operation: Operation[T]) -> T:
        """Carry out an operation that emits nothing."""
        run = _AsyncRun(self)
        async for _ in run.steps(operation):
            pass
        value: T = run.value
        return value

    async def iterate(self, operation: Operation[Any]) -> AsyncGenerator[Any, None]:
        """Carry out an operation, yielding what it emits. Closing the iterator closes the connection."""
        steps = _AsyncRun(self).steps(operation)
        try:
            async for item in steps:
                yield item
        finally:
            await steps.aclose()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


class _AsyncRun:
    """One operation, and the body it has open."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._open: http.Response | None = None
        self._pieces: AsyncIterator[bytes] = _nothing()
        self.value: Any = None

    async def steps(self, operation: Operation[Any]) -> AsyncGenerator[Any, None]:
        outcome: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    effect = operation.send(outcome) if error is None else operation.throw(error)
                except StopIteration as end:
                    self.value = end.value
                    return
                outcome, error = None, None
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    outcome = await self._perform(effect)
                except BaseException as raised:
                    error = raised
        finally:
            await self._close()
            operation.close()

    async def _perform(self, effect: Effect) -> Any:
        try:
            match effect:
                case Send(request, timeout):
                    return await self._send(request, timeout)
                case Open(request, silence):
                    return await self._begin(request, silence)
                case Read():
                    return await self._read()
                case Close():
                    return await self._close()
                case Sleep(seconds):
                    return await asyncio.sleep(seconds)
                case Blocking(function):
                    return await asyncio.to_thread(function)
                case _:
                    raise AssertionError(effect)
        except http.RequestError as error:
            await self._close()
            raise _translated(error, self._driver.server) from error

    async def _send(self, request: Request, timeout: float | None) -> Response:
        began = time.monotonic()
        if timeout is not None and timeout <= 0:
            raise APITimeoutError("no time is left for the request")
        try:
            async with asyncio.timeout(timeout):
                response = await self._driver.client.send(self._driver.server.build(request, timeout), stream=True)
                try:
                    content = await response.aread()
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise APITimeoutError(f"the answer was not complete after {timeout:.3g} s") from error
        return _made(response, content, began)

    async def _begin(self, request: Request, silence: float) -> Response:
        began = time.monotonic()
        response = await self._driver.client.send(self._driver.server.build(request, None, silence), stream=True)
        self._open = response
        if response.status_code == 200:
            self._pieces = response.aiter_bytes()
            return _made(response, b"", began)
        content = await response.aread()
        await self._close()
        return _made(response, content, began)

    async def _read(self) -> bytes:
        piece = await anext(self._pieces, b"")
        if not piece:
            await self._close()
        return piece

    async def _close(self) -> None:
        response, self._open, self._pieces = self._open, None, _nothing()
        if response is not None:
            await response.aclose()
