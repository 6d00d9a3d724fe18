"""Processes that decode on trial: started ahead, bounded, thrown away when they hang or die."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from service.intake.decoder import ANSWER, HEADER
from service.problems import Code, Problem

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
"""Until a new process has imported the codecs: 0.3 s on an idle machine, a hundred times that on a drowning one."""
MOST_REQUESTS = 5000
"""A process is replaced after so many pictures, so that what a codec may leak stays small."""
MOST_WAITING = 256
"""Pictures waiting for a process; more are answered 503."""
PATIENCE = 4.0
"""By the clock a picture may take so many times its processor time: a busy machine is not the picture's fault."""
_LONGEST_ANSWER = 65_536


@dataclass(eq=False)
class _Decoder:
    process: asyncio.subprocess.Process
    requests: int = 0

    @property
    def usable(self) -> bool:
        return self.process.returncode is None and self.requests < MOST_REQUESTS

    async def ask(self, header: bytes, data: bytes) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            OSError, EOFError: the process died.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        self.requests += 1
        stdin.write(HEADER.pack(len(header), len(data)))
        stdin.write(header)
        stdin.write(data)
        await stdin.drain()
        return await _answer(stdout)

    async def end(self) -> None:
        """Kill the process, if it lives, and reap it."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


class Sandbox:
    """A pool of decoding processes.

    Args:
        size: processes, and so pictures decoded at the same time.
        seconds: of the processor that one picture may take; `PATIENCE` times as many by the clock.
        memory: bytes one picture may take on top of the idle process.
    """

    def __init__(self, size: int, seconds: float, memory: int) -> None:
        self._size, self._seconds, self._memory = size, seconds, memory
        self._idle: asyncio.Queue[_Decoder | None] = asyncio.Queue()
        self._all: set[_Decoder] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting = 0

    async def start(self) -> None:
        """Start the processes; returns when all are ready."""
        for decoder in await asyncio.gather(*(self._spawn() for _ in range(self._size))):
            self._idle.put_nowait(decoder)

    async def stop(self) -> None:
        """End the processes, with whatever they are doing."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(d.end() for d in list(self._all)))
        self._all.clear()

    @property
    def processes(self) -> list[int]:
        """Process ids of the decoders that live."""
        return [d.process.pid for d in self._all if d.process.returncode is None]

    async def ask(self, request: dict[str, Any], data: bytes, name: str) -> dict[str, Any]:
        """The decoder's answer to a request.

        Raises:
            Problem: UNDECODABLE_IMAGE, the picture took too long or killed its process; SATURATED.
        """
        if self._waiting >= MOST_WAITING:
            raise Problem(Code.SATURATED, "too many pictures are waiting to be examined", retry_after=2)
        header = json.dumps({**request, "name": name, "seconds": self._seconds, "memory": self._memory}).encode()
        self._waiting += 1
        try:
            decoder = await self._idle.get()
        finally:
            self._waiting -= 1
        # A caller that goes away leaves the process to finish in peace: it would have to be replaced otherwise.
        task = asyncio.ensure_future(self._serve(decoder, header, data, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return await asyncio.shield(task)

    async def _serve(self, decoder: _Decoder | None, header: bytes, data: bytes, name: str) -> dict[str, Any]:
        kept: _Decoder | None = None
        try:
            if decoder is None or not decoder.usable:
                decoder = await self._replace(decoder)
            try:
                async with asyncio.timeout(PATIENCE * self._seconds):
                    answer = await decoder.ask(header, data)
                kept = decoder
                return answer
            except TimeoutError:
                why = f"decoding it takes longer than {PATIENCE * self._seconds:g} s"
            except (OSError, EOFError, ValueError):
                await decoder.process.wait()
                why = "decoding it fails badly; it is damaged or takes more memory than is allowed"
                if decoder.process.returncode == -signal.SIGXCPU:
                    why = f"decoding it takes longer than {self._seconds:g} s of the processor"
            logger.warning("a decoding process was lost", extra={"why": why, "code": decoder.process.returncode})
            await self._discard(decoder)
            raise Problem(Code.UNDECODABLE_IMAGE, f"{name}: {why}")
        finally:
            self._idle.put_nowait(kept)
            if kept is None:
                self._refill()

    def _refill(self) -> None:
        """Start a process for the place that was given back empty, unless somebody takes the place before."""

        async def refill() -> None:
            place = await self._idle.get()
            try:
                if place is None:
                    place = await self._spawn()
            except (OSError, EOFError, TimeoutError):
                logger.exception("a decoding process does not start")
            finally:
                self._idle.put_nowait(place)

        task = asyncio.ensure_future(refill())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, decoder: _Decoder | None) -> _Decoder:
        if decoder is not None:
            await self._discard(decoder)
        try:
            return await self._spawn()
        except (OSError, EOFError, TimeoutError) as error:
            logger.exception("a decoding process does not start")
            raise Problem(Code.SATURATED, "pictures cannot be examined at the moment", retry_after=10) from error

    async def _discard(self, decoder: _Decoder) -> None:
        await decoder.end()
        self._all.discard(decoder)

    async def _spawn(self) -> _Decoder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.intake.decoder",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,  # a Ctrl-C at the server's terminal is the server's to handle
        )
        decoder = _Decoder(process)
        self._all.add(decoder)
        try:
            assert process.stdout is not None
            async with asyncio.timeout(START_SECONDS):
                await _answer(process.stdout)
        except BaseException:
            await self._discard(decoder)
            raise
        return decoder


async def _answer(stdout: asyncio.StreamReader) -> dict[str, Any]:
    (length,) = ANSWER.unpack(await stdout.readexactly(ANSWER.size))
    if length > _LONGEST_ANSWER:
        raise ValueError("a decoder's answer is too long")
    answer = json.loads(await stdout.readexactly(length))
    if not isinstance(answer, dict):
        raise ValueError("a decoder's answer is no object")
    return answer


def _environment() -> dict[str, str]:
    """Nothing of the server's own: no keys, no database address."""
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    return {
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "VIPS_CONCURRENCY": "1",
        "VIPS_BLOCK_UNTRUSTED": "1",  # loaders that libvips calls unfit for strangers' files
        "VIPS_WARNING": "0",
        "MALLOC_ARENA_MAX": "2",
    }
