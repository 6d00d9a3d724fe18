"""When a request is sent again, how long is waited, and how a repeated request stays one: all of it, here only.

The numbers are those of openai-python's `_base_client.py`, which many programs have lived with.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import EllipsisType

from pellucid_client._errors import APIStatusError

#: Seconds for a whole call, its retries included: the longest restoration a server does synchronously by default.
TIMEOUT = 600.0
#: Seconds for making a connection.
CONNECT_TIMEOUT = 5.0
#: Longest silence of a connection while a request is sent or an answer awaited. The server answers within `LONG_POLL`,
#: so after this long the connection is dead; it is what httpx-based clients leave at ten minutes.
SILENCE = 60.0
MAX_RETRIES = 2
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
#: A server that asks for more than this is not waited for: the caller decides.
LONGEST_RETRY_AFTER = 120.0
#: Seconds that the server may take before it answers "not yet": half of what gateways allow at least (Heroku: 30).
LONG_POLL = 20.0
#: How much longer than it was asked to wait an answer may travel.
GRACE = 5.0
#: The server sends something every 15 s; after two pings missed the connection is taken for dead.
EVENTS_SILENCE = 40.0
#: While a job is followed nothing is lost by asking again: five times as many failures in a row are borne, which with
#: the delays above is a minute, enough for a server to be restarted.
FOLLOW_FACTOR = 5
#: Seconds that telling the server to stop may take when the caller has been interrupted.
FAREWELL = 5.0

#: 408 and 429 ask for it; 5xx may pass. 409 does not: the job's state must change first.
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Policy:
    """How patient a client is.

    Attributes:
        timeout: seconds for a whole call, retries and waiting included; None for no end.
        max_retries: how often a request is sent again after a failure that may pass.
        random: [0, 1), for the jitter.
    """

    timeout: float | None = TIMEOUT
    max_retries: int = MAX_RETRIES
    random: Callable[[], float] = random.random

    def changed(self, timeout: float | EllipsisType | None, max_retries: int | None) -> Policy:
        """The same with another timeout (... leaves it) or number of retries (None leaves it)."""
        return replace(
            self,
            timeout=self.timeout if isinstance(timeout, EllipsisType) else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    def delay(self, retry: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait before retry number `retry` (from 0): what the server asked for, else a doubling back-off.

        The back-off is shortened by up to a quarter at random, so that clients cut off together do not return together.

        Returns:
            None when the server asks for more than `LONGEST_RETRY_AFTER`: not to be retried.
        """
        if retry_after is not None:
            return retry_after if retry_after <= LONGEST_RETRY_AFTER else None
        return min(FIRST_DELAY * 2.0 ** min(retry, 16), LONGEST_DELAY) * (1.0 - 0.25 * self.random())


def may_pass(error: APIStatusError) -> bool:
    """Whether sending the same request again may succeed; the server has the last word (X-Should-Retry).

    A failed job stays failed: a problem that names one is not asked for again under the same key.
    """
    word = error.response.headers.get("x-should-retry", "").lower()
    if word in ("true", "false"):
        return word == "true"
    return error.status_code in RETRIED_STATUSES and not (error.status_code == 500 and error.problem.get("job"))


def new_idempotency_key() -> str:
    """One for each logical call: the server recognises its retries by it and restores once."""
    return f"pellucid-client-{uuid.uuid4()}"
