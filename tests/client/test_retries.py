from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pellucid_client as pellucid
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pellucid_client import _policy as policies
from pellucid_client._policy import Policy

from tests.client.conftest import Api, size
from tests.client.proxy import Fault, Proxy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same policy, ten times as fast."""
    monkeypatch.setattr(policies, "FIRST_DELAY", 0.05)


def keys(proxy: Proxy) -> list[str]:
    return [seen.headers["idempotency-key"] for seen in proxy.seen if seen.method == "POST"]


@given(retry=st.integers(0, 50), jitter=st.floats(0, 1, exclude_max=True, allow_subnormal=False))
def test_the_back_off_doubles_up_to_eight_seconds_less_a_quarter_at_most(retry: int, jitter: float) -> None:
    found = Policy(random=lambda: jitter).delay(retry)
    assert found is not None
    full = min(policies.FIRST_DELAY * 2.0**retry, 8.0)
    assert 0.75 * full <= found <= full


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    policy = Policy(random=lambda: 0.0)
    assert (policy.timeout, policy.max_retries) == (600.0, 2)
    assert [policy.delay(retry) for retry in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert policy.delay(0, 120.0) == 120.0 and policy.delay(0, 120.1) is None


@pytest.mark.parametrize("kind", ["refuse", "lose_answer", "truncate"])
def test_a_broken_connection_is_retried_and_the_job_runs_once(api: Api, proxy: Proxy, picture: Path, kind: str) -> None:
    proxy.faults.extend([Fault(kind, "POST", size=100), Fault(kind, "POST", size=100)])
    image = api.run(api.client.denoise(picture, seed=5))
    assert size(image) == (40, 32)
    assert image.response.attempts == 3
    assert len(keys(proxy)) == 3 and len(set(keys(proxy))) == 1
    assert len(api.all(api.client.jobs.list())) >= 1
    assert image.replayed is (kind != "refuse")


def test_retries_end(api: Api, proxy: Proxy, picture: Path) -> None:
    proxy.faults.extend(Fault("refuse") for _ in range(3))
    with pytest.raises(pellucid.APIConnectionError, match="broke") as caught:
        api.run(api.client.denoise(picture))
    assert caught.value.attempts == 3 and len(proxy.seen) == 3


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_statuses_that_may_pass_are_retried(api: Api, proxy: Proxy, picture: Path, status: int) -> None:
    proxy.faults.append(Fault("answer", status=status))
    assert api.run(api.client.denoise(picture)).response.attempts == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 409, 410, 413, 415, 422])
def test_statuses_that_stay_are_not_retried(api: Api, proxy: Proxy, picture: Path, status: int) -> None:
    proxy.faults.append(Fault("answer", status=status))
    with pytest.raises(pellucid.APIStatusError):
        api.run(api.client.denoise(picture))
    assert len(proxy.seen) == 1


@pytest.mark.parametrize(("status", "word", "requests"), [(409, "true", 2), (503, "false", 1)])
def test_the_server_has_the_last_word(api: Api, proxy: Proxy, status: int, word: str, requests: int) -> None:
    proxy.faults.append(Fault("answer", status=status, headers={"X-Should-Retry": word}))
    try:
        api.run(api.client.models.list())
    except pellucid.APIStatusError:
        assert requests == 1
    assert len(proxy.seen) == requests


def test_retry_after_is_honoured(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=503, headers={"Retry-After": "1"}))
    began = time.monotonic()
    api.run(api.client.models.list())
    assert time.monotonic() - began >= 1.0


def test_a_long_retry_after_is_left_to_the_caller(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=429, headers={"Retry-After": "121"}))
    with pytest.raises(pellucid.RateLimitError) as caught:
        api.run(api.client.models.list())
    assert caught.value.retry_after == 121.0 and len(proxy.seen) == 1


def test_a_retry_that_would_come_too_late_is_not_waited_for(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=503, headers={"Retry-After": "60"}))
    with pytest.raises(pellucid.ServiceUnavailableError):
        api.run(api.make(timeout=5.0).models.list())
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("fault", [Fault("delay", seconds=5.0), Fault("drip", seconds=0.4)])
def test_the_timeout_covers_everything(api: Api, proxy: Proxy, fault: Fault) -> None:
    proxy.faults.append(fault)
    began = time.monotonic()
    with pytest.raises(pellucid.APITimeoutError):
        api.run(api.make(timeout=1.0).models.list())
    assert time.monotonic() - began < 3.0


def test_options_of_a_call_win_over_the_client_s(api: Api, proxy: Proxy, picture: Path) -> None:
    proxy.faults.append(Fault("answer", status=503))
    with pytest.raises(pellucid.ServiceUnavailableError):
        api.run(api.client.denoise(picture, max_retries=0))
    proxy.faults.append(Fault("delay", seconds=5.0))
    with pytest.raises(pellucid.APITimeoutError):
        api.run(api.client.denoise(picture, timeout=0.5))


def test_with_options_changes_a_copy(api: Api, proxy: Proxy) -> None:
    other = api.client.with_options(max_retries=0, headers={"X-Team": "blue"}, api_key="secret")
    proxy.faults.append(Fault("answer", status=503))
    with pytest.raises(pellucid.ServiceUnavailableError):
        api.run(other.models.list())
    api.run(api.client.models.list())
    blue, plain = proxy.seen
    assert (blue.headers["x-team"], blue.headers["authorization"]) == ("blue", "Bearer secret")
    assert "x-team" not in plain.headers and "authorization" not in plain.headers
    assert plain.headers["user-agent"].startswith(f"pellucid-client/{pellucid.__version__} python/")


def test_a_key_of_one_s_own_finds_the_first_result(api: Api, picture: Path) -> None:
    key = f"mine-{api.kind}"
    first = api.run(api.client.denoise(picture, idempotency_key=key))
    again = api.run(api.client.denoise(picture, idempotency_key=key))
    assert first.job_id == again.job_id and not first.replayed and again.replayed
    with pytest.raises(pellucid.UnprocessableError) as caught:
        api.run(api.client.denoise(picture, idempotency_key=key, seed=99))
    assert caught.value.code == "idempotency_mismatch"


def test_each_call_has_a_key_of_its_own(api: Api, proxy: Proxy, picture: Path) -> None:
    for _ in range(2):
        api.run(api.client.denoise(picture))
    first, second = keys(proxy)
    assert first != second


def test_a_job_that_our_broken_connection_cancelled_is_started_again(api: Api, proxy: Proxy, picture: Path) -> None:
    proxy.faults.append(Fault("hang_up", "POST", seconds=0.3))
    image = api.run(api.client.denoise(picture, steps=100, fidelity=0))
    assert size(image) == (40, 32)
    # The server may have cancelled the job before it was found again, or after.
    first, second, *third = keys(proxy)
    assert first == second and len(third) <= 1 and first not in third


def test_a_post_without_a_key_is_sent_once(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=503))
    with pytest.raises(pellucid.ServiceUnavailableError):
        api.run(api.client.request("POST", "/v1/restore", content=b"x"))
    assert len(proxy.seen) == 1


def test_any_request_can_be_sent_and_answers_come_as_they_are(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("refuse"))
    response: Any = api.run(api.client.request("GET", "/v1/models", params={"x": 1}, headers={"X-Request-Id": "abc"}))
    assert (response.status_code, response.request_id, response.attempts) == (200, "abc", 2)
    assert response.json()["data"][0]["name"] and response.media_type == "application/json"
    assert proxy.seen[-1].target == "/v1/models?x=1"
