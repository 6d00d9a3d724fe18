from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.registry import load_denoiser
from restore import Restorer
from restore.degradations import Grey
from restore.errors import ParameterError
from restore.estimation import load_colour_estimator
from restore.prior.protocol import Denoiser, PriorInfo
from restore.sampling.driver import run
from restore.sampling.protocol import Problem, RowNoise
from restore.tasks.colorize import colorize
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source

PHOTOGRAPH = Path(__file__).parents[2] / "data" / "clouds.png"
module = importlib.import_module("restore.tasks.colorize")  # the package's attribute is the function


def in_colour() -> torch.Tensor:
    """[1, 3, H, W] in [-1, 1]."""
    with Image.open(PHOTOGRAPH) as file:
        pixels = np.asarray(file.convert("RGB"), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0


def grey_picture() -> torch.Tensor:
    """The same in grey, rounded as a file holds it."""
    luma = Grey().forward(in_colour())
    return ((luma + 1.0) * 127.5).round().div(127.5).sub(1.0).expand(-1, 3, -1, -1).contiguous()


@pytest.fixture(scope="module")
def prior() -> Denoiser:
    return load_denoiser(runtime="torch", device="cpu")


def coloured(prior: Denoiser, seed: int = 0, **given: float) -> torch.Tensor:
    plan = colorize(Source(grey_picture(), grey=True), Parameters(**given), prior.info)  # type: ignore[arg-type]
    problem = Problem(plan.y, plan.degradation, prior.info, RowNoise(seed, [0]))
    return plan.finish(run(plan.sampler(problem), prior))


def test_colours_are_nearer_than_grey_and_luma_stays(prior: Denoiser) -> None:
    x, truth, grey = coloured(prior), in_colour(), grey_picture()
    assert (x - truth).square().mean() < 0.9 * (grey - truth).square().mean()
    assert (Grey().forward(x) - grey[:, :1]).abs().mean() * 127.5 < 0.5


def test_nothing_is_drawn_at_fidelity_one_and_samples_differ_below(prior: Denoiser) -> None:
    assert torch.equal(coloured(prior, 0), coloured(prior, 1))
    first, second = (coloured(prior, seed, fidelity=0.0) for seed in (0, 1))
    assert not torch.equal(first, second)
    assert (Grey().forward(first) - Grey().forward(second)).abs().mean() * 127.5 < 1.0


def test_the_uncertainty_holds_what_is_not_known_of_the_colours(prior: Denoiser) -> None:
    grey = (grey_picture()[0].permute(1, 2, 0) + 1.0) / 2.0
    result = Restorer(prior).colorize(grey.numpy(), samples=2, steps=2)
    assert result.uncertainty is not None
    expected = torch.from_numpy(np.asarray(result.uncertainty, np.float32)).square().mean().sqrt()
    _, deviation = load_colour_estimator()(grey_picture()[:, :1])
    of_colours = deviation.square().mean().sqrt() * 127.5 * (2.0 / 3.0) ** 0.5
    assert of_colours - 0.5 < expected < 1.2 * of_colours


def test_a_noisy_luma_is_trusted_less() -> None:
    info = PriorInfo(name="any")
    variances = []
    for noise in ("auto", 20.0):
        plan = colorize(Source(grey_picture()), Parameters(noise=noise), info)  # type: ignore[arg-type]
        variances.append(plan.degradation.noise.variance(plan.y))
    quiet, loud = variances
    assert (quiet[:, 0].sqrt() * 127.5 * 0.669).mean() == pytest.approx(0.3, rel=0.01)
    assert (loud[:, 0].sqrt() * 127.5 * 0.669).mean() == pytest.approx(20.0, rel=0.01)
    assert torch.equal(quiet[:, 1:], loud[:, 1:])


def test_without_an_estimator_the_prior_chooses_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed_colour_estimators", lambda: ())
    plan = colorize(Source(grey_picture()), Parameters(), PriorInfo(name="any"))
    assert "estimator" in plan.warnings[0]
    assert plan.effective["steps"] == 16
    assert isinstance(plan.degradation, Grey)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ParameterError, match="default"):
        load_colour_estimator("better")
