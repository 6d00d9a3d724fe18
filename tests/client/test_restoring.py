from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pellucid_client as pellucid
import pytest
from pellucid_client import _policy as policies
from PIL import Image

from tests.client.conftest import Api, pixels, size
from tests.client.proxy import Fault, Proxy


def parameters(proxy: Proxy) -> dict[str, Any]:
    """Of the last submission."""
    body = proxy.seen[-1].body
    begin = body.index(b"{", body.index(b'name="params"'))
    found: dict[str, Any] = json.loads(body[begin : body.index(b"\r\n", begin)])
    return found


def test_a_picture_comes_back_with_what_is_known_about_it(api: Api, picture: Path) -> None:
    image = api.run(api.client.denoise(picture, seed=7))
    assert size(image) == (40, 32)
    assert (image.media_type, image.format, image.seed) == ("image/png", "png", 7)
    assert image.model.partition("@sha256:")[1] and image.job_id
    assert image.timings["restore"] > 0 and image.degraded is None and not image.replayed
    assert image.request_id == image.response.request_id != ""
    assert image.pil().size == (40, 32) and image.array().shape == (32, 40, 3)
    assert api.run(image.report()).nfe >= 1


@pytest.mark.parametrize("kind", ["str", "bytes", "bytearray", "file", "pil", "array", "grey"])
def test_every_way_to_give_a_picture(api: Api, proxy: Proxy, picture: Path, kind: str) -> None:
    array = pixels()
    source: Any = {
        "str": str(picture),
        "bytes": picture.read_bytes(),
        "bytearray": bytearray(picture.read_bytes()),
        "file": io.BytesIO(picture.read_bytes()),
        "pil": Image.fromarray(array),
        "array": array,
        "grey": array[:, :, 0],
    }[kind]
    image = api.run(api.client.denoise(source, strength=0))
    # At strength 0 the given picture comes back.
    assert np.array_equal(image.array(), array[:, :, 0] if kind == "grey" else array)


def test_every_task_is_a_method_and_says_what_it_was_told(api: Api, proxy: Proxy, picture: Path) -> None:
    client, mask = api.client, np.zeros((32, 40), bool)
    calls: list[tuple[Any, dict[str, Any]]] = [
        (client.restore(picture), {"task": "auto"}),
        (client.restore(picture, "denoise", noise=3), {"task": "denoise", "noise": 3}),
        (client.denoise(picture, noise="auto", seed=0), {"task": "denoise", "noise": "auto", "seed": 0}),
        (client.super_resolve(picture, scale=2), {"task": "super-resolve", "scale": 2}),
        (client.low_light_enhance(picture, exposure=1.5), {"task": "low-light-enhance", "exposure": 1.5}),
        (client.deblur(picture, [[0, 1, 0]]), {"task": "deblur"}),
        (client.inpaint(picture, mask), {"task": "inpaint"}),
        (client.colorize(picture, steps=2), {"task": "colorize", "steps": 2}),
        (client.dejpeg(picture, quality=30), {"task": "dejpeg", "quality": 30}),
        (
            client.denoise(picture, output_format="png", keep_gps=True, priority="batch", prior="photo", fidelity=0.5),
            {
                "output_format": "png",
                "keep_gps": True,
                "priority": "batch",
                "prior": "photo",
                "fidelity": 0.5,
                "task": "denoise",
            },
        ),
    ]
    if api.kind == "sync":
        sent = [seen for seen in proxy.seen if seen.method == "POST"]
        for seen, (_, wanted) in zip(sent, calls, strict=True):
            body = seen.body
            begin = body.index(b"{", body.index(b'name="params"'))
            assert json.loads(body[begin : body.index(b"\r\n", begin)]) == wanted
    else:
        for call, wanted in calls:
            api.run(call)
            assert parameters(proxy) == wanted


def test_masks_and_kernels_travel_as_parts(api: Api, proxy: Proxy, picture: Path) -> None:
    mask = np.zeros((32, 40), bool)
    mask[4:9] = True
    api.run(api.client.inpaint(picture, mask))
    body = proxy.seen[-1].body
    sent = body[body.index(b"\x89PNG", body.index(b'name="mask"')) :]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))) > 127, mask)
    api.run(api.client.deblur(picture, "motion:15:30"))
    assert b'name="kernel"\r\nContent-Type: text/plain\r\n\r\nmotion:15:30\r\n' in proxy.seen[-1].body
    api.run(api.client.deblur(picture, np.full((1, 3), 0.25)))
    assert b"\r\n\r\n[[0.25, 0.25, 0.25]]\r\n" in proxy.seen[-1].body


def test_what_takes_longer_than_a_poll_is_asked_for_again(
    api: Api, proxy: Proxy, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "LONG_POLL", 1.0)
    image = api.run(api.client.denoise(picture, steps=200, fidelity=0))
    assert size(image) == (40, 32)
    assert proxy.seen[0].headers["prefer"] == "wait=1"
    paths = proxy.paths("GET")
    assert len(paths) >= 3 and paths[-1].endswith("/result")
    assert image.job_id in paths[0]


def test_events_are_handed_over_while_waiting(api: Api, picture: Path) -> None:
    seen: list[pellucid.Event] = []
    image = api.run(api.client.denoise(picture, steps=4, fidelity=0, on_event=seen.append))
    assert size(image) == (40, 32)
    assert [event.type for event in seen] == ["queued", "started", *["progress"] * 4, "completed"]
    assert [event.step for event in seen if isinstance(event, pellucid.ProgressEvent)] == [1, 2, 3, 4]


def test_an_exception_while_events_are_handed_over_cancels_the_job(api: Api, proxy: Proxy, picture: Path) -> None:
    def stop(event: pellucid.Event) -> None:
        if isinstance(event, pellucid.ProgressEvent):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        api.run(api.client.denoise(picture, steps=1000, fidelity=0, on_event=stop, seed=77))
    told = proxy.paths("POST")[-1]
    newest = api.first(api.client.jobs.list(), 1)[0]
    assert newest.parameters["seed"] == 77
    assert told == f"/v1/jobs/{newest.id}/cancel"
    assert api.run(api.client.job(newest.id).wait(10)).state == "canceled"


@pytest.mark.parametrize("watched", [False, True])
def test_a_job_that_fails_is_the_same_error_however_it_was_waited_for(api: Api, picture: Path, watched: bool) -> None:
    more: dict[str, Any] = {"on_event": lambda event: None} if watched else {}
    with pytest.raises(pellucid.JobFailedError) as caught:
        # Known only once it is tried: there is nothing to restore from.
        api.run(api.client.inpaint(picture, np.ones((32, 40), bool), **more))
    assert caught.value.code == "invalid_parameter" and caught.value.job.state == "failed"
    assert caught.value.request_id


def test_out_of_time_stops_the_job(api: Api, proxy: Proxy, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "LONG_POLL", 1.0)
    with pytest.raises(pellucid.JobTimeoutError, match="told to stop") as caught:
        api.run(api.client.denoise(picture, steps=1000, fidelity=0, timeout=2.0))
    assert isinstance(caught.value, TimeoutError) and caught.value.canceled
    assert proxy.paths("POST")[-1] == f"/v1/jobs/{caught.value.job_id}/cancel"
    assert api.run(api.client.job(caught.value.job_id).wait(10)).state == "canceled"


def test_a_cancelled_task_stops_the_job(proxy: Proxy, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "LONG_POLL", 1.0)

    async def main() -> str:
        async with pellucid.AsyncClient(proxy.url) as client:
            task = asyncio.create_task(client.denoise(picture, steps=1000, fidelity=0))
            while not proxy.paths("GET"):
                await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            newest = (await client.jobs.page(limit=1)).data[0]
            return (await client.job(newest.id).wait(10)).state

    assert asyncio.run(main()) == "canceled"


def test_an_interrupted_call_stops_the_job(client: pellucid.Client, proxy: Proxy, picture: Path) -> None:
    import _thread

    def interrupt() -> None:
        while not proxy.paths("GET"):
            time.sleep(0.02)
        time.sleep(0.3)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.denoise(picture, steps=1000, fidelity=0, on_event=lambda event: None)
    thread.join()
    assert client.job(client.jobs.page(limit=1).data[0].id).wait(10).state == "canceled"


def test_an_upload_is_restored_several_times_without_being_sent_again(api: Api, proxy: Proxy, picture: Path) -> None:
    proxy.faults.append(Fault("lose_answer", "POST /v1/uploads"))
    upload = api.run(api.client.upload(picture))
    assert upload.bytes == len(picture.read_bytes())
    for seed in (1, 2):
        image = api.run(api.client.denoise(upload, seed=seed))
        assert size(image) == (40, 32) and image.seed == seed
        assert json.loads(proxy.seen[-1].body)["image"] == {"upload_id": upload.upload_id}
        assert len(proxy.seen[-1].body) < 200


def test_a_picture_by_url_is_named_not_sent(api: Api, proxy: Proxy) -> None:
    with pytest.raises(pellucid.UnprocessableError, match="URL"):
        api.run(api.client.denoise(pellucid.ImageURL("https://example.org/in.png"), noise=3))
    sent = json.loads(proxy.seen[-1].body)
    assert sent == {"task": "denoise", "noise": 3, "image": {"url": "https://example.org/in.png"}}


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("https://example.org/in.png", {}, "ImageURL"),
        (b"", {}, "empty"),
        (io.StringIO("text"), {}, "'rb'"),
        (np.zeros((4, 4), np.float32), {}, "uint8"),
        (np.zeros((4, 4, 7), np.uint8), {}, "shape"),
        (3, {}, "int"),
        (b"x", {"output_format": "gif"}, "gif"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    api: Api, proxy: Proxy, source: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(pellucid.InvalidInputError, match=message):
        api.run(api.client.denoise(source, **options))
    assert proxy.seen == []


def test_a_missing_file_is_the_usual_error(api: Api, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        api.run(api.client.denoise(tmp_path / "none.png"))


def test_a_task_without_what_it_needs_is_refused(api: Api, picture: Path) -> None:
    with pytest.raises(pellucid.InvalidInputError, match="inpaint needs mask="):
        api.run(api.client.restore(picture, "inpaint"))


def test_the_server_s_refusal_names_the_parameter(api: Api, picture: Path) -> None:
    with pytest.raises(pellucid.UnprocessableError, match="steps") as caught:
        api.run(api.client.denoise(picture, steps=2000))
    assert caught.value.code == "invalid_parameter"
