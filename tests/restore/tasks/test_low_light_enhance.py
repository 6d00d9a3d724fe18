from __future__ import annotations

import importlib

import pytest
import torch

from restore.degradations.exposure import linear_light, srgb
from restore.prior.protocol import PriorInfo
from restore.sampling.driver import run
from restore.sampling.protocol import Problem, RowNoise
from restore.tasks.low_light_enhance import low_light_enhance
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source


class Averaging:
    """A prior that takes the mean of 5 x 5 pixels."""

    info = PriorInfo("averaging")

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


@pytest.fixture(autouse=True)
def classical(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results must not depend on the estimator that happens to be installed."""
    module = importlib.import_module("restore.tasks.low_light_enhance")  # the package's attribute is the function
    monkeypatch.setattr(module, "installed_estimators", lambda: ("classical",))


def bright_scene(size: int = 96) -> torch.Tensor:
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear") * 1.2 - 0.7


def dark_scene(stops: float = 4.0, noise: float = 0.6) -> torch.Tensor:
    dark = srgb(linear_light(bright_scene()) / 2.0**stops)
    dark = dark + torch.randn(dark.shape, generator=torch.Generator().manual_seed(1)) * noise / 127.5
    return ((dark + 1.0) * 127.5).round().clamp(0, 255) / 127.5 - 1.0


def restored(image: torch.Tensor, **options: object) -> torch.Tensor:
    settings = Parameters(**options)  # type: ignore[arg-type]
    plan = low_light_enhance(Source(image), settings, Averaging.info)
    return plan.finish(
        run(plan.sampler(Problem(plan.y, plan.degradation, Averaging.info, RowNoise(0, [0]))), Averaging())
    )


def test_a_dark_noisy_picture_becomes_bright_and_smooth() -> None:
    image = dark_scene()
    result = restored(image)
    assert -0.4 < result.mean() < 0.3
    plan = low_light_enhance(Source(image), Parameters(), Averaging.info)
    raw = plan.degradation.initial_estimate(image).x
    clean = plan.degradation.initial_estimate(dark_scene(noise=0.0)).x
    assert (result - clean).square().mean() < 0.3 * (raw - clean).square().mean()


def test_the_plan_reports_what_it_found() -> None:
    plan = low_light_enhance(Source(dark_scene()), Parameters(), Averaging.info)
    assert 2.0 < plan.found["exposure"] < 6.0
    assert 0.3 < plan.found["noise"] < 1.5
    assert plan.found["exposure_source"] == "classical"
    assert "classical" in plan.warnings[0]


def test_stops_given_by_the_user_are_used() -> None:
    image = dark_scene(noise=0.0)
    plan = low_light_enhance(Source(image), Parameters(exposure=2.0, noise=0.0), Averaging.info)
    assert plan.found["exposure"] == pytest.approx(2.0, abs=0.5)
    assert plan.found["noise"] == 0.0
    assert plan.warnings == ()


def test_a_grey_picture_stays_grey() -> None:
    grey = dark_scene(noise=0.0).mean(1, keepdim=True).expand(1, 3, -1, -1)
    plan = low_light_enhance(Source(grey, grey=True), Parameters(), Averaging.info)
    bright = plan.degradation.initial_estimate(grey).x
    assert torch.equal(bright[:, 0], bright[:, 1])
    assert torch.equal(bright[:, 0], bright[:, 2])


def test_a_lower_fidelity_samples() -> None:
    result = restored(dark_scene(), fidelity=0.0, steps=3)
    assert torch.isfinite(result).all()
    assert not torch.equal(result, restored(dark_scene()))


@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_a_picture_without_contrast_survives(level: float) -> None:
    assert torch.isfinite(restored(torch.full((1, 3, 24, 20), level))).all()
