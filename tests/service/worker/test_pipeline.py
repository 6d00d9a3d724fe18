"""From a ticket to what an outcome says."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from restore import Restorer
from restore.images import decode
from restore.prior import TiledDenoiser


def test_a_ticket_becomes_a_result_and_a_report(worker):
    job = worker.submit(worker.picture(40, 32), "super-resolve", scale=2)
    outcome = worker.succeed(job)
    data = worker.blobs.get(outcome["outputs"]["result"])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (80, 64) == (outcome["width"], outcome["height"]) and image.format == "PNG"
    assert outcome["media_type"] == "image/png" and outcome["sha256"] == hashlib.sha256(data).hexdigest()
    assert set(outcome["outputs"]) == {"result"}
    effective = outcome["effective"]
    assert effective["seed"] == 1 and effective["nfe"] == 8 and effective["prior"] == "cheap"
    assert effective["found"]["noise"] == 20 and 0 < effective["residual"] < 128
    assert set(outcome["metrics"]) == {"decode", "restore", "encode", "nfe"}
    assert outcome["degraded"] == "" and outcome["warnings"] == []
    types = [e["type"] for e in worker.events(job)]
    assert types[0] == "started" and types[-1] == "succeeded" and "progress" in types
    assert worker.events(job)[0]["data"] == {"device": "cpu"}


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("auto", {}),
        ("denoise", {"noise": 20, "fidelity": 0.3}),
        ("super-resolve", {"scale": 2, "noise": 5}),
        ("low-light-enhance", {}),
        ("colorize", {}),
        ("dejpeg", {"quality": 30}),
    ],
)
def test_the_result_is_the_library_s(worker, task, given):
    reference = worker.picture(150, 40)
    job = worker.submit(reference, task, **given)
    prior = worker.worker._priors.get(None)
    restorer = Restorer(TiledDenoiser(prior.denoiser, prior.tiling.tile, prior.tiling.overlap))
    expected = restorer.restore(worker.blobs.get(reference), task, seed=1, **given).encode()
    assert worker.result(job) == expected


def test_mask_and_kernel_come_as_blobs(worker):
    mask = np.zeros((32, 40), np.uint8)
    mask[8:20, 8:20] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    image = worker.picture(40, 32)
    inputs = {"image": image, "mask": worker.blobs.put(file.getvalue(), "input")}
    inpainted = decode(worker.result(worker.submit(task="inpaint", inputs=inputs)))
    given, hole = decode(worker.blobs.get(image)), torch.from_numpy(mask > 0)
    assert torch.equal(inpainted.image[..., ~hole], given.image[..., ~hole])
    assert not torch.equal(inpainted.image[..., hole], given.image[..., hole])
    kernel = worker.blobs.put(json.dumps([[0, 1, 0], [1, 2, 1], [0, 1, 0]]).encode(), "input")
    outcome = worker.succeed(worker.submit(task="deblur", inputs={"image": image, "kernel": kernel}))
    assert outcome["effective"]["parameters"]["kernel"] == [3, 3]


def test_several_samples_bring_an_uncertainty_map(worker):
    outcome = worker.succeed(worker.submit(task="super-resolve", scale=2, samples=3))
    with Image.open(io.BytesIO(worker.blobs.get(outcome["outputs"]["uncertainty"]))) as spread:
        assert spread.size == (80, 64) and float(spread.text["Scale"]) > 0
    assert outcome["effective"]["nfe"] == 24


def test_a_seed_is_drawn_and_reported_when_none_is_given(worker):
    image = worker.picture()
    outcomes = [
        worker.succeed(worker.submit(image, "super-resolve", scale=2, fidelity=0.0, seed=None)) for _ in range(2)
    ]
    seeds = [o["effective"]["seed"] for o in outcomes]
    assert seeds[0] != seeds[1] and outcomes[0]["sha256"] != outcomes[1]["sha256"]
    again = worker.succeed(worker.submit(image, "super-resolve", scale=2, fidelity=0.0, seed=seeds[0]))
    assert again["sha256"] == outcomes[0]["sha256"]


def test_previews_are_small_jpegs_and_come_only_when_asked(worker):
    asked = worker.submit(worker.picture(700, 90), "super-resolve", "slow:seconds=0.005", scale=2, previews=True)
    silent = worker.submit(task="super-resolve", scale=2)
    preview = worker.wait_for(asked, "preview")["data"]
    with Image.open(io.BytesIO(base64.b64decode(preview["b64"]))) as image:
        assert image.format == "JPEG" and max(image.size) == 512
    assert preview["media_type"] == "image/jpeg" and 1 <= preview["step"] <= preview["steps"] == 8
    worker.succeed(silent)
    assert all(e["type"] != "preview" for e in worker.events(silent))


def test_a_job_of_one_call_tells_progress_within_it(worker):
    job = worker.submit(worker.picture(600, 500), "denoise", "slow:seconds=0.05")
    worker.succeed(job)
    told = [e["data"] for e in worker.events(job) if e["type"] == "progress"]
    assert len(told) > 3 and all(t["steps"] == 1 for t in told)
    fractions = [t["fraction"] for t in told]
    assert fractions == sorted(fractions) and 0 < fractions[0] < 0.5 and fractions[-1] == 1.0


def test_output_options_are_followed(worker):
    outcome = worker.succeed(worker.submit(output={"format": "jpeg", "quality": 50, "keep_gps": False}))
    assert outcome["media_type"] == "image/jpeg"
    assert worker.blobs.get(outcome["outputs"]["result"])[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize(
    ("task", "given", "code", "words"),
    [
        ("inpaint", {}, "invalid_parameter", "inpaint needs a mask"),
        ("denoise", {"noise": -3}, "invalid_parameter", "noise"),
        ("denoise", {"surprise": 1}, "invalid_parameter", "surprise"),
    ],
)
def test_what_does_not_fit_is_named(worker, task, given, code, words):
    type, data = worker.end(worker.submit(task=task, **given))
    assert type == "failed" and data["code"] == code and words in data["message"]


def test_a_damaged_picture_fails_its_job_only(worker):
    bad = worker.submit(worker.blobs.put(b"\x89PNG\r\n\x1a\nrubbish", "input"))
    good = worker.submit()
    assert worker.end(bad)[1]["code"] == "undecodable_image"
    worker.succeed(good)


def test_a_picture_over_the_limits_is_refused(start):
    worker = start(max_pixels=1000, max_output_pixels=2000)
    assert worker.end(worker.submit(worker.picture(40, 32)))[1]["code"] == "image_size"
    assert worker.end(worker.submit(worker.picture(30, 30), "super-resolve", scale=2))[1]["code"] == "image_size"


def test_a_lost_input_fails_without_telling_where_it_was(worker):
    type, data = worker.end(worker.submit("input/00000000000000000000000000000000"))
    assert type == "failed" and data["code"] == "internal" and "0000" not in data["message"]
