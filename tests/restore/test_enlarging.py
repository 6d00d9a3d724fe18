"""A prior with a sampler of its own, through the library's front door."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from restore import Restorer
from restore.errors import CancelledError, NumericalError, OutOfMemoryError, ParameterError
from restore.prior import Enlarger
from tests.service.worker.priors_for_tests import Blocks


def enlarger(**options):
    return Blocks("blocks", options)


@pytest.fixture
def picture():
    ramp = np.linspace(40, 210, 21)[None, :, None] + np.linspace(0, 30, 13)[:, None, None] + np.zeros(3)
    return Image.fromarray(ramp.astype(np.uint8))


def test_an_enlarger_is_told_from_a_denoiser():
    assert isinstance(enlarger(), Enlarger)


def test_a_picture_is_enlarged_and_the_report_says_how(picture):
    result = Restorer(enlarger()).super_resolve(picture, steps=3, seed=7)
    assert result.image.size == (84, 52)
    report = result.report
    assert (report["prior"], report["digest"], report["runtime"]) == ("blocks", "sha256:00", "torch:fp32")
    assert (report["nfe"], report["seed"], report["warnings"]) == (3, 7, [])
    parameters = report["parameters"]
    assert (parameters["steps"], parameters["scale"], parameters["fidelity"], parameters["noise"]) == (3, 4, 0.0, 0.0)
    assert json.dumps(report) and "degraded" not in report
    again, other = (Restorer(enlarger()).super_resolve(picture, steps=3, seed=seed) for seed in (7, 8))
    assert torch.equal(again.tensor, result.tensor) and not torch.equal(other.tensor, result.tensor)


def test_its_own_number_of_steps_is_the_default(picture):
    assert Restorer(enlarger()).super_resolve(picture).report["nfe"] == 5


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("denoise", {}, "it does no denoise"),
        ("auto", {}, "it does no auto"),
        ("super-resolve", {"scale": 2}, "not 2"),
        ("super-resolve", {"noise": 5.0}, "noise is 0"),
        ("super-resolve", {"fidelity": 1.0}, "fidelity is 0"),
        ("super-resolve", {"quality": 30}, "quality means nothing"),
        ("super-resolve", {"exposure": 1.0}, "exposure means nothing"),
        ("super-resolve", {"kernel": torch.ones(3, 3)}, "a kernel means nothing"),
        ("super-resolve", {"mask": torch.ones(13, 21)}, "a mask means nothing"),
    ],
)
def test_what_it_cannot_do_is_refused_with_what_it_can(picture, task, given, said):
    with pytest.raises(ParameterError, match=rf"'blocks' only enlarges, 4 times.*{said}.*steps, seed, samples"):
        Restorer(enlarger()).restore(picture, task, **given)


def test_noise_and_fidelity_may_be_said_where_they_are_what_it_does(picture):
    Restorer(enlarger()).super_resolve(picture, noise=0, fidelity=0, scale=4)


def test_several_samples_give_their_mean_and_their_spread(picture):
    steps = []
    result = Restorer(enlarger()).super_resolve(picture, steps=2, samples=6, on_step=steps.append)
    assert result.report["nfe"] == 12 and [s.step for s in steps] == list(range(12)) and steps[0].steps == 12
    spread = result.uncertainty
    assert spread.shape == (1, 1, 52, 84) and float(spread.mean()) == pytest.approx(0.02 * 127.5, rel=0.2)
    single = Restorer(enlarger()).super_resolve(picture, steps=2)
    assert float((result.tensor - single.tensor).abs().mean()) > 0.005


def test_strength_blends_with_interpolation(picture):
    from restore.degradations import bicubic_upsample
    from restore.images import decode

    result = Restorer(enlarger()).super_resolve(picture, strength=0.0)
    expected = bicubic_upsample(decode(picture).image, 4).clamp(-1, 1)
    torch.testing.assert_close(result.tensor, expected)


def test_progress_has_previews_and_work_stops_when_asked(picture):
    seen = []
    Restorer(enlarger()).super_resolve(picture, on_step=seen.append)
    assert [(s.step, s.steps) for s in seen] == [(k, 5) for k in range(5)]
    assert all(s.x0.shape == (1, 3, 52, 84) for s in seen)
    prior = enlarger()
    with pytest.raises(CancelledError):
        Restorer(prior).super_resolve(picture, cancelled=lambda: prior.calls == 3)
    assert prior.calls == 3


def test_tiles_shrink_when_memory_runs_out_unless_they_were_asked_for(picture):
    report = Restorer(enlarger(side=32)).super_resolve(picture).report
    assert report["degraded"] == "tile=32;reason=oom" and "tiles of 32" in report["warnings"][0]
    with pytest.raises(OutOfMemoryError, match="asked for"):
        Restorer(enlarger(side=32), tile=48).super_resolve(picture)
    with pytest.raises(OutOfMemoryError, match="smallest"):
        Restorer(enlarger(side=8)).super_resolve(picture)
    with pytest.raises(ParameterError, match="multiples"):
        Restorer(enlarger(), tile=33)


def test_garbage_is_an_error(picture):
    with pytest.raises(NumericalError, match="blocks"):
        Restorer(enlarger(nan=1)).super_resolve(picture)


def test_files_are_written_and_there_is_no_denoiser(picture, tmp_path):
    restorer = Restorer(enlarger())
    picture.save(tmp_path / "in.png")
    report = restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png", "super-resolve")
    assert report["prior"] == "blocks"
    with Image.open(tmp_path / "out.png") as large:
        assert large.size == (84, 52)
    with pytest.raises(ParameterError, match="only enlarges"):
        restorer.denoiser  # noqa: B018
