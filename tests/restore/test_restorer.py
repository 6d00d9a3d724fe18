"""The Restorer: every task through the library's front door, with a small analytic prior."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from restore import Restorer
from restore.degradations import gaussian_kernel
from restore.errors import CancelledError, NumericalError, ParameterError
from restore.prior.protocol import PriorInfo

PHOTOGRAPH = Path(__file__).parents[1] / "data" / "colosseum.png"


class Smoother:
    """A crude prior: pictures are smooth, the more so the noisier they look. Local, any size."""

    info = PriorInfo(name="smoother", receptive_field=9)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        smooth = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
        weight = (sigma.square() / (sigma.square() + 0.01)).view(-1, 1, 1, 1)
        return torch.lerp(x, smooth, weight).clamp(-1.0, 1.0)


@pytest.fixture
def restorer() -> Restorer:
    return Restorer(Smoother())


@pytest.fixture
def picture() -> Image.Image:
    with Image.open(PHOTOGRAPH) as photograph:
        return photograph.convert("RGB").crop((100, 60, 165, 107))


def options(task: str, picture: Image.Image) -> dict[str, Any]:
    """What a task cannot do without."""
    if task == "deblur":
        return {"kernel": gaussian_kernel(1.0)}
    if task == "inpaint":
        mask = torch.zeros(picture.height, picture.width, dtype=torch.bool)
        mask[10:20, 10:30] = True
        return {"mask": mask}
    if task == "dejpeg":
        return {"quality": 40}
    if task == "super-resolve":
        return {"scale": 2}
    return {}


TASKS = ["auto", "denoise", "super-resolve", "low-light-enhance", "deblur", "inpaint", "colorize", "dejpeg"]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_restores_an_odd_sized_picture_and_reports(
    restorer: Restorer, picture: Image.Image, task: str, tmp_path: Path
) -> None:
    result = restorer.restore(picture, task, seed=3, **options(task, picture))
    factor = 2 if task == "super-resolve" else 1
    assert result.tensor.shape == (1, 3, 47 * factor, 65 * factor)
    assert result.tensor.abs().max() <= 1.0
    assert result.image.size == (65 * factor, 47 * factor)
    report = json.loads(json.dumps(result.report))
    assert report["task"] == task and report["seed"] == 3 and report["prior"] == "smoother"
    assert report["nfe"] >= 1 and report["parameters"]["strength"] == 1.0
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.size == result.image.size


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_picture(restorer: Restorer, picture: Image.Image, task: str) -> None:
    given = options(task, picture) | {"fidelity": 0.3}
    first, again = (restorer.restore(picture, task, seed=5, **given) for _ in range(2))
    assert torch.equal(first.tensor, again.tensor)


def test_another_seed_gives_another_sample_but_the_same_mean(restorer: Restorer, picture: Image.Image) -> None:
    samples = [restorer.super_resolve(picture, scale=2, fidelity=0.0, seed=s).tensor for s in (1, 2)]
    assert not torch.equal(*samples)
    means = [restorer.super_resolve(picture, scale=2, seed=s).tensor for s in (1, 2)]
    assert torch.equal(*means)


def test_denoising_improves_a_noisy_photograph(restorer: Restorer, picture: Image.Image) -> None:
    clean = np.asarray(picture, np.float32) / 255.0
    noisy = clean + 25 / 255 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    result = restorer.denoise(np.clip(noisy, 0, 1), noise=25)
    truth = torch.from_numpy(clean).permute(2, 0, 1) * 2 - 1
    before = (torch.from_numpy(np.clip(noisy, 0, 1)).permute(2, 0, 1) * 2 - 1 - truth).square().mean()
    assert (result.tensor[0] - truth).square().mean() < 0.7 * before
    assert result.report["nfe"] == 1 and result.report["found"] == {"noise": 25.0, "noise_source": "given"}


def test_several_samples_give_their_mean_and_their_spread(
    restorer: Restorer, picture: Image.Image, tmp_path: Path
) -> None:
    one = [restorer.super_resolve(picture, scale=2, fidelity=0.0, samples=1, seed=0).tensor]
    result = restorer.super_resolve(picture, scale=2, samples=4, seed=0)
    assert result.parameters["fidelity"] == 0.0
    assert result.uncertainty is not None and result.uncertainty.shape == (1, 1, 94, 130)
    assert 0.0 < result.uncertainty.mean() < 60.0
    assert not torch.equal(one[0], result.tensor)
    assert result.report["nfe"] == 4 * 8
    result.save_uncertainty(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as saved:
        assert saved.size == (130, 94)


def test_a_single_sample_has_no_uncertainty(restorer: Restorer, picture: Image.Image, tmp_path: Path) -> None:
    result = restorer.denoise(picture, noise=5)
    assert result.uncertainty is None
    with pytest.raises(ParameterError, match="more than one sample"):
        result.save_uncertainty(tmp_path / "map.png")


def test_strength_blends_with_the_given_picture(restorer: Restorer, picture: Image.Image) -> None:
    full = restorer.denoise(picture, noise=30).tensor
    none = restorer.denoise(picture, noise=30, strength=0.0)
    half = restorer.denoise(picture, noise=30, strength=0.5).tensor
    assert np.array_equal(np.asarray(none.image), np.asarray(picture))
    torch.testing.assert_close(half, 0.5 * (full + none.tensor), atol=1e-6, rtol=0)
    enlarged = restorer.super_resolve(picture, scale=2, strength=0.0)
    assert enlarged.tensor.shape == (1, 3, 94, 130)


def test_inpainting_keeps_the_known_pixels_exactly(restorer: Restorer, picture: Image.Image) -> None:
    given = options("inpaint", picture)
    result = restorer.inpaint(picture, **given)
    known = ~given["mask"].numpy()
    assert np.array_equal(np.asarray(result.image)[known], np.asarray(picture)[known])


def test_masks_and_kernels_come_in_the_forms_that_users_have(restorer: Restorer, picture: Image.Image) -> None:
    mask = np.zeros((picture.height, picture.width), bool)
    mask[4:9, 5:12] = True
    expected = restorer.inpaint(picture, mask=torch.from_numpy(mask), steps=2)
    assert expected.parameters["mask"] == [picture.height, picture.width]
    for given in (mask, Image.fromarray(mask)):
        assert np.array_equal(restorer.inpaint(picture, mask=given, steps=2).image, expected.image)
    by_formula = restorer.deblur(picture, kernel="gaussian:1", steps=2)
    assert np.array_equal(
        by_formula.image, restorer.deblur(picture, kernel=gaussian_kernel(1.0).numpy(), steps=2).image
    )


def test_grey_pictures_stay_grey_unless_colour_was_asked_for(restorer: Restorer, picture: Image.Image) -> None:
    assert restorer.denoise(picture.convert("L"), noise=10).image.mode == "L"
    assert restorer.colorize(picture.convert("L")).image.mode == "RGB"


def test_progress_counts_every_call_of_every_sample(restorer: Restorer, picture: Image.Image) -> None:
    seen: list[tuple[int, int]] = []
    restorer.super_resolve(picture, scale=2, steps=3, samples=2, on_step=lambda p: seen.append((p.step, p.steps)))
    assert seen == [(i, 6) for i in range(6)]


def test_cancelling_stops_before_the_next_call(restorer: Restorer, picture: Image.Image) -> None:
    calls: list[int] = []
    with pytest.raises(CancelledError):
        restorer.super_resolve(
            picture, scale=2, on_step=lambda p: calls.append(p.step), cancelled=lambda: len(calls) == 2
        )
    assert calls == [0, 1]


def test_a_prior_that_returns_nan_is_an_error(picture: Image.Image) -> None:
    class Broken(Smoother):
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x * float("nan")

    with pytest.raises(NumericalError):
        Restorer(Broken()).denoise(picture, noise=10)


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        ("sharpen", {}, "unknown task 'sharpen'"),
        ("denoise", {"sigma": 3}, "unknown parameter 'sigma'"),
        ("denoise", {"noise": -1}, "noise must be"),
        ("denoise", {"noise": float("nan")}, "noise must be"),
        ("denoise", {"noise": "loud"}, "noise must be"),
        ("super-resolve", {"scale": 5}, "scale must be one of"),
        ("denoise", {"fidelity": 1.5}, "fidelity must lie"),
        ("denoise", {"strength": -0.1}, "strength must lie"),
        ("denoise", {"steps": 0}, "steps must lie"),
        ("denoise", {"samples": 0}, "samples must lie"),
        ("denoise", {"samples": 4, "fidelity": 1.0}, "every sample is the same"),
        ("denoise", {"seed": -1}, "seed must lie"),
        ("dejpeg", {"quality": 0}, "quality must be"),
        ("dejpeg", {}, "no trace of JPEG"),
        ("low-light-enhance", {"exposure": 40}, "exposure must be"),
        ("deblur", {}, "deblur needs the kernel"),
        ("inpaint", {}, "inpaint needs a mask"),
        ("inpaint", {"mask": torch.ones(4, 4)}, "the mask is 4x4 pixels, the picture 65x47"),
        ("inpaint", {"mask": torch.ones(47, 65)}, "covers the whole picture"),
    ],
)
def test_bad_parameters_are_named(
    restorer: Restorer, picture: Image.Image, task: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        restorer.restore(picture, task, **parameters)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, restore; print([m for m in ('torch', 'diffusers', 'cv2', 'pyvips') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
