"""The intake: sniffed in the server, decoded on trial in a sandbox, fetched through the address guard."""

from __future__ import annotations

import os
from dataclasses import asdict

from restore.errors import RestoreError
from restore.images import sniff
from service.intake.protocol import Examined
from service.intake.sandbox import Sandbox
from service.problems import Code, Problem
from service.protection.addresses import AddressGuard, networks
from service.protection.outbound import Outbound
from service.settings import Settings

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF", "avif": "AVIF", "heic": "HEIC"}
_FETCH_SECONDS = 10.0
"""For a picture by URL, redirects included: 32 MiB at 27 Mbit/s."""
_SNIFFED = 4096
"""Bytes that tell a format; the sandbox looks at the rest."""


class SandboxedIntake:
    """See `service.intake.protocol.Intake`.

    Args:
        settings: limits, and whether URLs are taken.
        outbound: fetches URLs; made from the settings by default.
    """

    def __init__(self, settings: Settings, outbound: Outbound | None = None) -> None:
        self._settings = settings
        guard = AddressGuard(offline=settings.offline, allowed=networks(settings.allowed_addresses))
        self._outbound = outbound or Outbound(guard)
        # As many as the HTTP layer lets into memory at the same time.
        self.sandbox = Sandbox(max(2, os.cpu_count() or 2), settings.decode_seconds, settings.decode_memory)

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    async def examine(self, data: bytes, name: str) -> Examined:
        limits = self._settings.limits
        if len(data) > limits.max_bytes:
            raise Problem(Code.TOO_LARGE, f"{name}: {len(data):,} bytes; at most {limits.max_bytes:,} are taken")
        if not data:
            raise Problem(Code.UNDECODABLE_IMAGE, f"{name}: the file is empty")
        try:
            kind = sniff(data[:_SNIFFED], name)
        except RestoreError as error:
            what = str(error).partition("; supported are")[0]
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"{what}; {_taken()}") from error
        if kind not in FORMATS:
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"{name}: holds a {kind.upper()} picture; {_taken()}")
        answer = await self.sandbox.ask({"limits": asdict(limits)}, data, name)
        if "code" in answer:
            raise Problem(Code(answer["code"]), str(answer["detail"]))
        facts = answer["facts"]
        return Examined(
            format=kind,
            width=int(facts["width"]),
            height=int(facts["height"]),
            depth=int(facts["depth"]),
            grey=bool(facts["grey"]),
            alpha=bool(facts["alpha"]),
        )

    async def fetch(self, url: str) -> bytes:
        if not self._settings.url_sources:
            raise Problem(Code.URL_REFUSED, "pictures by URL are switched off on this server; send the picture itself")
        return await self._outbound.fetch(url, max_bytes=self._settings.max_bytes, seconds=_FETCH_SECONDS)


def create_intake(settings: Settings) -> SandboxedIntake:
    """The intake as the settings want it; nothing is started yet."""
    return SandboxedIntake(settings)


def _taken() -> str:
    return f"taken are {', '.join(FORMATS.values())}"
