"""Delivers what lies in the outbox, over https to public addresses, again and again until it is taken."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import UTC, datetime

from service.observability.logs import bound
from service.problems import Code, Problem
from service.protection.outbound import Outbound
from service.threads import Threads
from service.webhooks.outbox import Delivery, Outbox
from service.webhooks.signing import Signer

#: Waits after each failed attempt; after the last the delivery is given up, three days later. Standard Webhooks'
#: recommendation ("Delivery reliability"), without its immediate second try.
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Longest that one attempt may take; the same text says 15 to 30 s.
ATTEMPT_SECONDS = 15.0
#: Seconds that a taken delivery is kept from others: after a kill it is due again so soon.
HOLD_SECONDS = 2 * ATTEMPT_SECONDS
#: Deliveries at a time.
AT_ONCE = 8
#: Seconds between looks into the outbox, for what is due again and for what other processes wrote.
POLL_SECONDS = 1.0
#: Seconds that the rows of finished deliveries are kept, for whoever wants to know what happened.
KEEP_SECONDS = 7 * 86_400.0

log = logging.getLogger(__name__)


class Sender:
    """Attempts deliveries as they become due.

    Args:
        outbox: what is to be delivered.
        outbound: refuses addresses that are not public, at connect time.
        signer: of the messages.
        threads: to ask the outbox in.
    """

    def __init__(self, outbox: Outbox, outbound: Outbound, signer: Signer, threads: Threads) -> None:
        self._outbox, self._outbound, self._signer, self._call = outbox, outbound, signer, threads
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be something to deliver."""
        self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        under_way: set[asyncio.Task[None]] = set()
        pruned = 0.0
        try:
            while True:
                self._news.clear()
                try:
                    if time.monotonic() - pruned > 3600.0:
                        await self._call(self._outbox.prune, KEEP_SECONDS)
                        pruned = time.monotonic()
                    free = AT_ONCE - len(under_way)
                    for delivery in await self._call(self._outbox.take, free, HOLD_SECONDS) if free else ():
                        task = asyncio.create_task(self._deliver(delivery))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                        task.add_done_callback(lambda _: self.wake())
                except Exception:
                    log.exception("the outbox does not answer; trying again in %g s", POLL_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._news.wait()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _deliver(self, delivery: Delivery) -> None:
        with bound(job=delivery.job_id):
            begun = time.monotonic()
            headers = self._signer.headers(delivery.id, delivery.body, datetime.now(UTC))
            try:
                answer = await self._outbound.post(
                    delivery.url, headers, delivery.body.encode(), seconds=ATTEMPT_SECONDS
                )
                said, taken, final = str(answer.status), 200 <= answer.status < 300, answer.status == 410
            except Problem as problem:
                said, taken, final = problem.detail, False, problem.code is Code.URL_REFUSED
            seconds = time.monotonic() - begun
            try:
                await self._settle(delivery, said, seconds, taken=taken, final=final)
            except Exception:
                log.exception("webhook %s: its outcome could not be noted; it will be sent again", delivery.id)

    async def _settle(self, delivery: Delivery, said: str, seconds: float, *, taken: bool, final: bool) -> None:
        if taken:
            log.info("webhook %s delivered", delivery.id)
            await self._call(self._outbox.delivered, delivery, said, seconds)
            return
        again = None
        if not final and delivery.attempts <= len(RETRY_SECONDS):
            again = RETRY_SECONDS[delivery.attempts - 1] * random.uniform(0.9, 1.1)
        verdict = "given up" if again is None else f"again in {again:.0f} s"
        log.warning("webhook %s, attempt %d: %s; %s", delivery.id, delivery.attempts, said, verdict)
        await self._call(self._outbox.failed, delivery, said, seconds, again)
