from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from pellucid_client import InvalidInputError, InvalidWebhookError, Webhook

from service.webhooks.signing import Signer

KEYS = [f"whsec_{base64.b64encode(bytes([n]) * 24).decode()}" for n in (1, 2)]
JOB = {"id": "0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e", "state": "succeeded", "task": "denoise"}
BODY = json.dumps({"type": "job.completed", "timestamp": "2026-11-26T12:00:00Z", "data": JOB}).encode()


def headers(secret: str, when: float | None = None, body: bytes = BODY) -> dict[str, str]:
    """As the server signs."""
    moment = datetime.fromtimestamp(time.time() if when is None else when, UTC)
    return Signer(secret).headers("msg_1", body.decode(), moment)


def test_what_the_server_signs_is_read() -> None:
    event = Webhook(KEYS[0]).verify(BODY, {k.upper(): v for k, v in headers(KEYS[0]).items()})
    assert (event.id, event.type) == ("msg_1", "job.completed")
    assert event.job is not None and event.job.id == JOB["id"] and event.job.ended


def test_two_secrets_are_known_while_one_is_being_replaced() -> None:
    for given, known in ((" ".join(KEYS), KEYS[:1]), (KEYS[1], KEYS)):
        assert Webhook(*known).verify(BODY.decode(), headers(given)).job is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: headers(KEYS[1]), "no signature fits"),
        (lambda: headers(KEYS[0], body=BODY + b" "), "no signature fits"),
        (lambda: headers(KEYS[0], time.time() - 3600), "old"),
        (lambda: headers(KEYS[0], time.time() + 3600), "early"),
        (lambda: {}, "webhook-id"),
        (lambda: {**headers(KEYS[0]), "webhook-timestamp": "now"}, "no number"),
        (lambda: {**headers(KEYS[0]), "webhook-signature": "v1a,xyz"}, "no signature fits"),
    ],
)
def test_what_the_server_did_not_sign_is_refused(given: Callable[[], dict[str, str]], said: str) -> None:
    with pytest.raises(InvalidWebhookError, match=said):
        Webhook(KEYS[0]).verify(BODY, given())


@pytest.mark.parametrize("secrets", [[], ["whsec_"], ["whsec_%%%"], ["not base64!"]])
def test_what_is_no_secret_is_refused(secrets: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        Webhook(*secrets)
