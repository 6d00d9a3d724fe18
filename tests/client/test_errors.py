from __future__ import annotations

import json
import socket

import pellucid_client as pellucid
import pytest

from tests.client.conftest import Api
from tests.client.proxy import Fault, Proxy

CLASSES = {
    400: pellucid.BadRequestError,
    401: pellucid.AuthenticationError,
    403: pellucid.PermissionDeniedError,
    404: pellucid.NotFoundError,
    406: pellucid.NotAcceptableError,
    408: pellucid.RequestTimeoutError,
    409: pellucid.ConflictError,
    410: pellucid.ExpiredError,
    413: pellucid.PayloadTooLargeError,
    415: pellucid.UnsupportedMediaTypeError,
    418: pellucid.APIStatusError,
    422: pellucid.UnprocessableError,
    429: pellucid.RateLimitError,
    500: pellucid.InternalServerError,
    502: pellucid.InternalServerError,
    503: pellucid.ServiceUnavailableError,
}


def problem(status: int, code: str, **more: object) -> Fault:
    body = json.dumps({"type": "t", "title": "T", "status": status, "detail": "said", "code": code, **more})
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "req-9"}
    return Fault("answer", status=status, headers=headers, body=body.encode())


@pytest.mark.parametrize("status", CLASSES)
def test_each_status_has_its_exception(api: Api, proxy: Proxy, status: int) -> None:
    proxy.faults.append(problem(status, "some_code", errors=[{"field": "steps", "message": "too many"}]))
    client = api.make(max_retries=0)
    with pytest.raises(CLASSES[status]) as caught:
        api.run(client.models.list())
    error = caught.value
    assert type(error) is CLASSES[status]
    assert (error.status_code, error.code, error.request_id) == (status, "some_code", "req-9")
    assert error.errors == [{"field": "steps", "message": "too many"}]
    assert error.problem["type"] == "t" and error.response.status_code == status
    assert str(error) == f"said (steps: too many) [HTTP {status}, some_code, request req-9]"


def test_an_error_page_of_something_else_is_an_exception_too(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(
        Fault("answer", status=502, headers={"Content-Type": "text/html"}, body=b"<h1>Bad gateway</h1>")
    )
    with pytest.raises(pellucid.InternalServerError, match="no details given") as caught:
        api.run(api.make(max_retries=0).models.list())
    assert (caught.value.code, caught.value.problem, caught.value.request_id) == (None, {}, None)


def test_a_page_instead_of_json_says_that_the_address_is_wrong(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=200, headers={"Content-Type": "text/html"}, body=b"<h1>Hello</h1>"))
    with pytest.raises(pellucid.APIResponseError, match="is this the address of a Pellucid server"):
        api.run(api.client.models.list())


def test_json_of_another_service_is_refused(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=200, headers={"Content-Type": "application/json"}, body=b'{"data": 3}'))
    with pytest.raises(pellucid.APIResponseError, match="no ModelList"):
        api.run(api.client.models.list())


def test_a_redirect_names_the_address_to_use(api: Api, proxy: Proxy) -> None:
    proxy.faults.append(Fault("answer", status=301, headers={"Location": "https://elsewhere"}))
    with pytest.raises(pellucid.APIResponseError, match="https://elsewhere"):
        api.run(api.client.models.list())


def test_nobody_there_says_so_and_names_the_address(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = api.make(base_url=f"http://127.0.0.1:{port}", max_retries=0)
    with pytest.raises(pellucid.APIConnectionError, match=f"127.0.0.1:{port}.*is the server running"):
        api.run(client.models.list())


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:x", "http://host/?a=b"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    for kind in (pellucid.Client, pellucid.AsyncClient):
        with pytest.raises(pellucid.InvalidInputError, match="base_url"):
            kind(url)


def test_every_error_has_a_request_id_attribute() -> None:
    for name in pellucid.__all__:
        value = getattr(pellucid, name)
        if isinstance(value, type) and issubclass(value, pellucid.PellucidError):
            assert hasattr(value, "request_id"), name
