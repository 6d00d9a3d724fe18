"""A webhook that no delivery would be made to is refused when its job is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.problems import Code, Problem
from service.protection.addresses import AddressGuard
from service.webhooks.admission import WebhookTargets

NAMES = {
    "public.example": ["93.184.215.14"],
    "inside.example": ["10.0.0.7", "fd00::7"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
}


async def resolve(host: str, port: int) -> Sequence[str]:
    if host == "slow.example":
        await asyncio.sleep(60)
    if host not in NAMES:
        raise OSError("no such host")
    return NAMES[host]


def refusal(url: str, *, offline: bool = False) -> Problem | None:
    targets = WebhookTargets(AddressGuard(offline, resolver=resolve))
    try:
        asyncio.run(targets.check(url))
    except Problem as problem:
        return problem
    return None


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/hook", "https://10.1.2.3/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest", "https://localhost/", "https://inside.example/hook", "https://both.example/",
        "https://public.example:8443/", "https://me:secret@public.example/", "https://0x7f.1/",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(url: str) -> None:
    problem = refusal(url)
    assert problem is not None and problem.code is Code.URL_REFUSED
    assert [error["field"] for error in problem.errors] == ["webhook"]
    assert "10.0.0.7" not in problem.detail, "a stranger is not told the inside network's addresses"


def test_what_is_public_is_taken() -> None:
    assert refusal("https://public.example/hook") is None
    assert refusal("https://93.184.215.14/") is None


def test_a_name_that_is_not_found_now_may_be_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.webhooks.admission.LOOKUP_SECONDS", 0.05)
    assert refusal("https://nowhere.example/") is None
    assert refusal("https://slow.example/") is None


def test_an_offline_server_takes_none() -> None:
    assert refusal("https://public.example/", offline=True) is not None
