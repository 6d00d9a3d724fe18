from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal

from restore.degradations import AveragePool, Blur, GaussianNoise, gaussian_kernel, motion_kernel
from restore.degradations import blur as blur_module
from restore.degradations.blur import fast_size
from restore.errors import ParameterError


def picture(h: int, w: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 2, h, w, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("size", [(5, 5), (3, 7), (4, 6), (1, 3)])
def test_it_is_a_true_convolution_with_mirrored_borders(size: tuple[int, int]) -> None:
    kernel = torch.rand(size, generator=torch.Generator().manual_seed(1))
    x = picture(9, 13)
    got = Blur(kernel).forward(x)
    for c in range(2):
        kh, kw = size
        mirrored = np.pad(x[0, c].numpy(), ((kh, kh), (kw, kw)), mode="symmetric")
        full = signal.convolve2d(mirrored, kernel.numpy())
        want = full[kh + kh // 2 :, kw + kw // 2 :][:9, :13]
        torch.testing.assert_close(got[0, c], torch.from_numpy(want), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 5), (4, 3)])
def test_valid_reads_nothing_outside_the_picture(size: tuple[int, int]) -> None:
    kernel = torch.rand(size, generator=torch.Generator().manual_seed(1))
    x = picture(11, 12)
    got = Blur(kernel, "valid").forward(x)
    want = signal.convolve2d(x[0, 1].numpy(), kernel.numpy(), mode="valid")
    torch.testing.assert_close(got[0, 1], torch.from_numpy(want), rtol=1e-5, atol=1e-5)


def test_nothing_wraps_around() -> None:
    x = torch.zeros(1, 1, 32, 32)
    x[..., :8, :] = 1.0
    y = Blur(gaussian_kernel(1.5)).forward(x)
    assert float(y[..., 20:, :].abs().max()) < 1e-6
    torch.testing.assert_close(y[..., :2, :], torch.ones(1, 1, 2, 32), rtol=0, atol=1e-3)


def test_valid_frame_lies_half_a_kernel_inside_the_picture() -> None:
    x = picture(20, 22)
    y = Blur(torch.ones(1, 1), "valid").forward(x)
    torch.testing.assert_close(y, x)
    delta = torch.zeros(5, 7)
    delta[2, 3] = 1.0
    torch.testing.assert_close(Blur(delta, "valid").forward(x), x[..., 2:-2, 3:-3])
    torch.testing.assert_close(Blur(delta).forward(x), x)


def test_deblurring_restores_the_frame_and_a_margin() -> None:
    operator = Blur(motion_kernel(4, 9), "valid", GaussianNoise(1e-4))
    y_, x_ = torch.linspace(-3, 3, 40).view(-1, 1), torch.linspace(-3, 3, 44)
    x = (torch.sin(3 * x_ + y_) * torch.cos(2 * y_)).view(1, 1, 40, 44)
    y = operator.forward(x)
    step = operator.gain_step(torch.zeros_like(x), y, torch.tensor([0.25]))
    assert step.shape == x.shape
    inner = (..., slice(4, -4), slice(4, -4))
    assert float((step - x)[inner].square().mean()) < 0.2 * float((y - x[inner]).square().mean())


def test_large_pictures_go_through_plane_by_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    x, d = picture(24, 30), picture(24, 30, 1)
    v = torch.tensor([0.1])
    for operator in (Blur(motion_kernel(1, 7)), Blur(gaussian_kernel(1.0))):
        noisy = operator.with_noise(GaussianNoise(0.02))
        y = noisy.forward(x)
        whole = noisy.gain_step(d, y, v)
        monkeypatch.setattr("restore.degradations.planes.LIMIT", 100)
        monkeypatch.setattr("restore.degradations.cosine_form.LIMIT", 100)
        monkeypatch.setattr(blur_module, "LIMIT", 100)
        torch.testing.assert_close(noisy.forward(x), y)
        torch.testing.assert_close(noisy.gain_step(d, y, v), whole, rtol=0, atol=1e-4)
        monkeypatch.undo()


def test_separable_kernels_beyond_the_dense_limit_use_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Blur(gaussian_kernel(1.0), "valid", GaussianNoise(0.02))
    x, d, v = picture(30, 26), picture(30, 26, 1), torch.tensor([0.1])
    y = operator.forward(x)
    exact, error = operator.gain_step(d, y, v), operator.estimate_error(y)
    monkeypatch.setattr(blur_module, "DENSE_LIMIT", 4)
    torch.testing.assert_close(operator.gain_step(d, y, v), exact, rtol=0, atol=2e-4)
    torch.testing.assert_close(operator.estimate_error(y), error, rtol=0.02, atol=0)
    with pytest.raises(ParameterError, match="Blur"):
        operator.spectrum((1, 2, 30, 26))


def test_wrong_kernels_and_pictures_are_named() -> None:
    with pytest.raises(ParameterError, match="kernel"):
        Blur(torch.ones(3))
    with pytest.raises(ParameterError, match="finite"):
        Blur(torch.tensor([[float("nan")]]))
    with pytest.raises(ParameterError, match="boundary"):
        Blur(torch.ones(3, 3), "wrap")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="smaller than the blur kernel"):
        Blur(torch.ones(5, 5), "valid").forward(torch.zeros(1, 1, 4, 9))


def test_fast_sizes_have_small_factors_only() -> None:
    assert [fast_size(n) for n in (1, 7, 11, 13, 97, 1021)] == [1, 8, 12, 15, 100, 1024]


def test_down_sampling_after_a_symmetric_blur_is_solved_in_closed_form() -> None:
    operator = AveragePool(2) @ Blur(gaussian_kernel(1.2))
    form = operator.cosine_form((1, 1, 12, 16))  # type: ignore[attr-defined]
    assert form is not None and form.scale == 2
