"""An answer as it came, whatever the HTTP library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pellucid_client import _errors as errors


@dataclass(frozen=True)
class Response:
    """An answer as it came: what every result was made from, under its `.response`.

    Attributes:
        status_code: HTTP status.
        headers: names in lower case.
        content: the body.
        elapsed: seconds from sending the request to the end of the body, of the attempt that succeeded.
        attempts: how often the request was sent.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes = b""
    elapsed: float = 0.0
    attempts: int = 1

    @property
    def request_id(self) -> str | None:
        """What the server calls this request in its log."""
        return self.headers.get("x-request-id")

    @property
    def media_type(self) -> str:
        """The body's media type in lower case, without parameters; "" when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from Retry-After (seconds or a date); None when it does not."""
        value = self.headers.get("retry-after", "").strip()
        if not value:
            return None
        try:
            return max(0.0, float(value))
        except ValueError:
            pass
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by stage ("queue", "decode", "restore", "encode"), from Server-Timing."""
        found = {}
        for entry in self.headers.get("server-timing", "").split(","):
            name, *parameters = (part.strip() for part in entry.split(";"))
            for parameter in parameters:
                key, _, value = parameter.partition("=")
                if name and key.lower() == "dur":
                    try:
                        found[name] = float(value.strip('"')) / 1000.0
                    except ValueError:
                        continue
        return found

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            APIResponseError: it is none.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            kind = self.media_type or "no media type"
            raise errors.APIResponseError(
                f"an answer in JSON was expected, not {kind}; is this the address of a Pellucid server?", self
            ) from error

    def error(self) -> errors.APIStatusError:
        """The typed exception of an error status."""
        problem: Any = {}
        if self.media_type in ("application/problem+json", "application/json"):
            try:
                problem = json.loads(self.content)
            except ValueError:
                problem = {}
        if not isinstance(problem, dict):
            problem = {}
        fallback = errors.InternalServerError if self.status_code >= 500 else errors.APIStatusError
        error = errors.BY_STATUS.get(self.status_code, fallback)(self, problem)
        error.attempts = self.attempts
        return error
