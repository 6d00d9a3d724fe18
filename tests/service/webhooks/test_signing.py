"""Signatures that any receiver of Standard Webhooks can verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from service.settings import Settings
from service.webhooks.signing import Signer

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 24).decode()}" for n in (1, 2))


def test_the_signature_is_the_standards() -> None:
    moment = datetime(2026, 7, 1, 12, 0, 0, 900_000, tzinfo=UTC)
    headers = Signer(OLD).headers("msg_1", '{"a":1}', moment)
    seconds = int(moment.timestamp())
    expected = hmac.new(bytes([1]) * 24, f'msg_1.{seconds}.{{"a":1}}'.encode(), hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", str(seconds))


def test_receivers_with_the_old_and_the_new_secret_verify_while_both_are_set() -> None:
    headers = Signer(f"{NEW} {OLD}").headers("msg_1", "{}", datetime.now(UTC))
    for secret in (OLD, NEW):
        assert Webhook(secret).verify("{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify('{"changed": 1}', headers)


@pytest.mark.parametrize("secret", ["", "secret", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", OLD[6:], f"{OLD} whsec_x"])
def test_a_malformed_secret_is_refused_at_start_without_telling_it(secret: str) -> None:
    with pytest.raises(ValidationError, match="webhook_secret") as caught:
        Settings(webhook_secret=secret)
    assert len(secret) < 8 or secret not in str(caught.value)
