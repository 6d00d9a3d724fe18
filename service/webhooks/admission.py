"""Whether a webhook could be delivered at all, asked when its job is submitted; each delivery asks again."""

from __future__ import annotations

import asyncio

from service.problems import Code, Problem
from service.protection.addresses import AddressGuard

#: For looking up a name. One that takes longer, or is not found now, may be when the job has ended.
LOOKUP_SECONDS = 2.0


class WebhookTargets:
    """Judges the URLs that submissions give.

    Args:
        guard: the one that deliveries pass, or its like.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def check(self, url: str) -> None:
        """Refuse a URL that no delivery would be made to.

        Raises:
            Problem: URL_REFUSED.
        """
        try:
            target = self._guard.parse(url)
            async with asyncio.timeout(LOOKUP_SECONDS):
                await self._guard.addresses(target.host, target.port)
        except TimeoutError:
            return
        except Problem as problem:
            if problem.code is Code.URL_REFUSED:
                error = {"field": "webhook", "message": problem.detail}
                raise Problem(Code.URL_REFUSED, f"webhook: {problem.detail}", errors=[error]) from None
