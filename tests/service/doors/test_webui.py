"""The interface of stable-diffusion-webui, used by the client library that people use for it."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from pellucid_client import Client
from PIL import Image
from webuiapi import WebUIApi

from tests.serving import Server


def noisy(width: int = 40, height: int = 32, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).normal(128, 20, (height, width, 3)).clip(0, 255)
    return Image.fromarray(values.astype(np.uint8))


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def opened(server: Server, **options: Any) -> WebUIApi:
    return WebUIApi(host="127.0.0.1", port=server.port, **options)


@pytest.fixture
def webui(real_server: Server) -> Iterator[WebUIApi]:
    made = opened(real_server)
    yield made
    made.session.close()


def post(server: Server, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/sdapi/v1/extra-single-image", json=fields, timeout=60)


def test_the_client_finds_what_it_asks_for_first(webui: WebUIApi) -> None:
    # Set only when the list of scripts could be read.
    assert webui.has_controlnet is False
    assert webui.get_face_restorers() == []
    found = webui.get_upscalers()
    assert found[0] == {
        "name": "Pellucid", "model_name": "tiny", "model_path": None, "model_url": None, "scale": 8.0,
    }  # fmt: skip
    assert [row["name"] for row in found] == ["Pellucid", "Pellucid photo"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_picture_is_enlarged_as_super_resolution_does_it(webui: WebUIApi, real_server: Server, scale: int) -> None:
    image = noisy()
    result = webui.extra_single_image(image, upscaler_1="Pellucid", upscaling_resize=scale)
    assert result.image.size == (40 * scale, 32 * scale) and result.image.format == "PNG"
    assert result.info == f"<p>Pellucid, prior tiny, {scale}x, seed 0</p>"
    with Client(real_server.url) as client:
        own = client.super_resolve(png(image), scale=scale)  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(result.image), own.array())


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"upscaling_resize": 1.5}, (60, 48)),
        ({"upscaling_resize": 2.51}, (100, 80)),
        ({"resize_mode": 1, "upscaling_resize_w": 80, "upscaling_resize_h": 64}, (80, 64)),
        ({"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 60}, (100, 60)),
        ({"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 60, "upscaling_crop": False}, (100, 80)),
    ],
)
def test_any_size_can_be_asked_for(webui: WebUIApi, fields: dict[str, Any], size: tuple[int, int]) -> None:
    assert webui.extra_single_image(noisy(), upscaler_1="Pellucid", **fields).image.size == size


def test_an_upscaler_may_name_another_prior(real_server: Server) -> None:
    done = post(real_server, image=base64.b64encode(png(noisy())).decode(), upscaler_1="Pellucid photo")
    assert done.status_code == 200 and done.headers["pellucid-model"].startswith("photo@sha256:")


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"gfpgan_visibility": 0.5}, "gfpgan_visibility", "no GFPGAN here"),
        ({"codeformer_visibility": 0.1}, "codeformer_visibility", "no CodeFormer here"),
        ({"upscaler_1": "None"}, "upscaler_1", "there are Pellucid"),
        ({"upscaler_1": "R-ESRGAN 4x+"}, "upscaler_1", "'R-ESRGAN 4x+' is not here"),
        ({"upscaler_2": "Pellucid", "extras_upscaler_2_visibility": 0.5}, "upscaler_2", "not blended"),
        ({"upscaling_resize": 1}, "upscaling_resize", "up to 8 times"),
        ({"upscaling_resize": 8.1}, "upscaling_resize", "up to 8 times"),
        ({"upscaling_resize": -1}, "upscaling_resize", "greater than 0"),
        ({"resize_mode": 1, "upscaling_resize_w": 30, "upscaling_resize_h": 20}, "upscaling_resize_w", "40x32"),
        ({"resize_mode": 2}, "resize_mode", "0 or 1"),
    ],
)
def test_what_is_not_here_is_refused_by_name(webui: WebUIApi, fields: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        webui.extra_single_image(noisy(), **{"upscaler_1": "Pellucid", **fields})
    status, text = caught.value.args
    problem = json.loads(text)
    assert (status, problem["code"]) == (422, "invalid_parameter")
    assert problem["errors"][0]["field"] == field and said in problem["detail"]


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("not base64!", 422, "invalid_parameter"),
        ("", 422, "invalid_parameter"),
        (base64.b64encode(b"this is text").decode(), 415, "unsupported_media_type"),
        ("data:image/png;base64," + base64.b64encode(b"this is text").decode(), 415, "unsupported_media_type"),
        ("https://example.org/in.png", 422, "url_refused"),
    ],
)
def test_what_is_no_picture_is_refused(real_server: Server, image: str, status: int, code: str) -> None:
    done = post(real_server, image=image, upscaler_1="Pellucid")
    assert (done.status_code, done.json()["code"]) == (status, code)


def test_a_body_that_is_no_json_is_refused(real_server: Server) -> None:
    url = f"{real_server.url}/sdapi/v1/extra-single-image"
    assert httpx.post(url, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert httpx.post(url, content=b"{", headers={"Content-Type": "image/png"}).status_code == 415


def test_fields_without_a_meaning_here_are_let_through(real_server: Server) -> None:
    image = base64.b64encode(png(noisy())).decode()
    done = post(real_server, image=image, upscaler_1="Pellucid", codeformer_weight=0.5, upscale_first=True, newer=1)
    assert done.status_code == 200


def test_depth_profile_and_transparency_stay(real_server: Server) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = noisy()
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 20, 32))
    image.putalpha(alpha)
    stream = io.BytesIO()
    image.save(stream, "PNG", icc_profile=profile)
    given = base64.b64encode(stream.getvalue()).decode()
    done = post(real_server, image=given, upscaler_1="Pellucid", upscaling_resize=1.5)
    restored = Image.open(io.BytesIO(base64.b64decode(done.json()["image"])))
    assert (restored.mode, restored.size) == ("RGBA", (60, 48)) and restored.info["icc_profile"] == profile
    clear = np.asarray(restored)[:, :, 3]
    assert (clear[:, :26] == 0).all() and (clear[:, 34:] == 255).all()


def test_the_same_key_makes_one_job(real_server: Server) -> None:
    image = base64.b64encode(png(noisy(seed=9))).decode()
    fields = {"image": image, "upscaler_1": "Pellucid"}
    url, headers = f"{real_server.url}/sdapi/v1/extra-single-image", {"Idempotency-Key": "door-1"}
    first, second = (httpx.post(url, json=fields, headers=headers, timeout=60) for _ in range(2))
    assert first.headers["pellucid-job"] == second.headers["pellucid-job"] and first.content == second.content


def test_a_client_that_hangs_up_cancels_its_job(real_server: Server) -> None:
    image = base64.b64encode(png(noisy(500, 400, seed=7))).decode()
    fields = {"image": image, "upscaler_1": "Pellucid photo", "upscaling_resize": 4}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{real_server.url}/sdapi/v1/extra-single-image", json=fields, timeout=httpx.Timeout(60, read=1.5))
    with Client(real_server.url) as client:
        deadline = time.monotonic() + 30
        while True:
            job = next(j for j in client.jobs.list() if j.input is not None and j.input.width == 500)
            if job.ended:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert job.state == "canceled"


def test_the_key_is_the_password_and_only_here(locked: tuple[Server, str]) -> None:
    server, key = locked
    stranger, known = opened(server), opened(server, username="anybody", password=key)
    try:
        with pytest.raises(RuntimeError, match="401"):
            stranger.extra_single_image(noisy(), upscaler_1="Pellucid")
        assert stranger.get_upscalers()["code"] == "unauthenticated"
        assert known.extra_single_image(noisy(), upscaler_1="Pellucid").image.size == (80, 64)
        assert known.session.get(f"{server.url}/v1/jobs").status_code == 401
        known.session.auth = ("anybody", "plk_wrong")
        assert known.session.get(f"{server.url}/sdapi/v1/upscalers").status_code == 401
    finally:
        stranger.session.close()
        known.session.close()
    assert httpx.get(f"{server.url}/sdapi/v1/scripts", headers={"X-API-Key": key}).status_code == 200


def test_limits_are_the_server_s(locked: tuple[Server, str]) -> None:
    server, key = locked
    headers = {"Authorization": f"Bearer {key}"}

    def code(image: Image.Image, factor: float) -> str:
        fields = {
            "image": base64.b64encode(png(image)).decode(), "upscaler_1": "Pellucid", "upscaling_resize": factor,
        }  # fmt: skip
        url = f"{server.url}/sdapi/v1/extra-single-image"
        return str(httpx.post(url, json=fields, headers=headers, timeout=60).json().get("code"))

    assert code(noisy(100, 100), 4) == "work_budget"
    assert code(noisy(800, 800), 2) == "too_large"


def test_many_at_a_time(real_server: Server) -> None:
    sizes: list[tuple[int, int]] = []

    def enlarge(seed: int) -> None:
        api = opened(real_server)
        sizes.append(api.extra_single_image(noisy(seed=seed), upscaler_1="Pellucid", upscaling_resize=1.5).image.size)
        api.session.close()

    threads = [threading.Thread(target=enlarge, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [(60, 48)] * 6


def test_everything_is_described(real_server: Server) -> None:
    document = httpx.get(f"{real_server.url}/openapi.json").json()
    operation = document["paths"]["/sdapi/v1/extra-single-image"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.rpartition("/")[2] in document["components"]["schemas"]
    assert operation["security"] == [{}, {"key": []}, {"password": []}]
    assert document["components"]["securitySchemes"]["password"]["scheme"] == "basic"


def test_the_document_names_every_route_and_field() -> None:
    from service.doors import inference, webui
    from service.doors.schemas import ExtrasRequest
    from tests.serving import ROOT

    text = (ROOT / "docs" / "doors.md").read_text()
    for route in [*webui.router.routes, *inference.router.routes]:
        assert f"{route.path}`" in text  # type: ignore[attr-defined]
    for name in ExtrasRequest.model_fields:
        assert f"`{name}`" in text or f"`{name.removeprefix('upscaling_resize')}`" in text, name
