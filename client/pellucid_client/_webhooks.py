"""Webhooks: was this really sent by our server, and lately?

The signature is that of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over "id.timestamp.payload" with the
bytes behind "whsec_", in base64 after "v1,"; several signatures, separated by spaces, while a secret is being replaced.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError

from pellucid_client._errors import InvalidInputError, InvalidWebhookError
from pellucid_client._models import JobInfo, Model

#: Of the standard's reference libraries: older or newer webhooks may be recorded ones, sent again.
TOLERANCE = 300.0
_PREFIX = "whsec_"


class WebhookEvent(Model):
    """What a webhook says.

    Attributes:
        id: of the message; a repeated delivery has the same, so remember those you have dealt with.
        type: such as "job.completed".
        timestamp: when it happened.
        job: as it ended; None for a type that is about none.
        data: all of it.
    """

    id: str = ""
    type: str
    timestamp: datetime | None = None
    job: JobInfo | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Webhook:
    """Verifies webhooks.

    Args:
        secret: the server's PELLUCID_WEBHOOK_SECRET, "whsec_..."; several while it is being replaced.
        tolerance: seconds that a webhook's time may differ from this machine's.

    Raises:
        InvalidInputError: a secret is not base64.
    """

    def __init__(self, *secret: str, tolerance: float = TOLERANCE) -> None:
        if not secret:
            raise InvalidInputError("a secret is needed: the server's PELLUCID_WEBHOOK_SECRET")
        self._keys = [_key(one) for one in secret]
        self._tolerance = tolerance

    def verify(self, payload: bytes | str, headers: Mapping[str, str]) -> WebhookEvent:
        """Read a webhook, provided that its sender knew the secret.

        Args:
            payload: the request's body exactly as it came, not parsed and written again.
            headers: of the request; their case does not matter.

        Raises:
            InvalidWebhookError: a header is missing, it is too old or too new, no signature fits, or it is no JSON.
        """
        body = payload.encode() if isinstance(payload, str) else bytes(payload)
        given = {name.lower(): value for name, value in headers.items()}
        try:
            identifier, stamp, signatures = (
                given[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
            )
        except KeyError as error:
            raise InvalidWebhookError(f"no header {error.args[0]}: this is no signed webhook") from None
        if not stamp.isascii() or not stamp.isdigit():
            raise InvalidWebhookError("webhook-timestamp is no number of seconds")
        age = time.time() - int(stamp)
        if abs(age) > self._tolerance:
            when = "old" if age > 0 else "early"
            raise InvalidWebhookError(
                f"the webhook is {abs(age):.0f} s {when}, more than {self._tolerance:g} s; is the clock here right?"
            )
        expected = [sign(key, identifier, stamp, body) for key in self._keys]
        offered = [item.partition(",")[2] for item in signatures.split() if item.startswith("v1,")]
        # Every pair is compared, so that the time taken tells nothing.
        matches = [
            hmac.compare_digest(one.encode(), other.encode("utf-8", "replace")) for one in expected for other in offered
        ]
        if not any(matches):
            raise InvalidWebhookError("no signature fits: not our server, another secret, or the body was changed")
        return _read(identifier, body)


def sign(key: bytes, identifier: str, timestamp: str, payload: bytes) -> str:
    """The signature in base64, without "v1,".

    Args:
        key: the secret's bytes.
        identifier: the header webhook-id.
        timestamp: the header webhook-timestamp.
        payload: the body.
    """
    message = identifier.encode() + b"." + timestamp.encode() + b"." + payload
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidInputError(f"the secret is not {_PREFIX} and base64")
    return key


def _read(identifier: str, body: bytes) -> WebhookEvent:
    try:
        event = WebhookEvent.model_validate_json(body)
    except ValidationError as error:
        raise InvalidWebhookError("the webhook is signed, but no event of a server that this client knows") from error
    # The job stands under "data", as the standard has it; `id` is the message's.
    candidate = event.data.get("job", event.data)
    if event.job is None and isinstance(candidate, dict) and {"id", "state"} <= candidate.keys():
        event.job = JobInfo.model_validate(candidate)
    event.id = identifier
    return event
