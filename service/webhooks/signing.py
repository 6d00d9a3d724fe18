"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from standardwebhooks import Webhook


class Signer:
    """Signs messages with one secret, or with several while one replaces another.

    Args:
        secrets: separated by spaces, each "whsec_" and base64 of 24 to 64 bytes.

    Raises:
        ValueError: a secret is malformed; its text is not told.
    """

    def __init__(self, secrets: str) -> None:
        self._keys = []
        for secret in secrets.split():
            try:
                size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
            except binascii.Error:
                size = 0
            if not secret.startswith("whsec_") or not 24 <= size <= 64:
                raise ValueError("a webhook secret is whsec_ followed by the base64 of 24 to 64 random bytes")
            self._keys.append(Webhook(secret))
        if not self._keys:
            raise ValueError("no webhook secret")

    def headers(self, message_id: str, body: str, moment: datetime) -> dict[str, str]:
        """webhook-id, webhook-timestamp and webhook-signature of one attempt at an aware moment."""
        signatures = [key.sign(message_id, moment, body) for key in self._keys]
        return {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
