import pytest
import torch

from restore.errors import ParameterError
from restore.prior import Denoiser, GaussianDenoiser, gaussian_posterior, operator_matrix, power_law_spectrum


def stationary(height=6, width=5, channels=2):
    mean = torch.linspace(-0.2, 0.3, channels * height * width).view(channels, height, width)
    return GaussianDenoiser(mean, spectrum=power_law_spectrum(height, width))


def test_dense_and_spectral_forms_agree():
    spectral = stationary()
    dense = GaussianDenoiser(spectral.mean, spectral.covariance)
    x, sigma = torch.randn(3, 2, 6, 5), torch.tensor([0.05, 0.5, 5.0])
    assert isinstance(dense, Denoiser)
    torch.testing.assert_close(dense(x, sigma), spectral(x, sigma), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dense.error(sigma), spectral.error(sigma))


def test_it_is_the_posterior_mean_of_a_noisy_picture():
    prior = stationary()
    x, sigma = torch.randn(2, 2, 6, 5), 0.3
    mean, _ = prior.posterior(x.flatten(1), torch.eye(60), sigma**2)
    torch.testing.assert_close(prior(x, torch.full((2,), sigma)).double(), mean, rtol=1e-5, atol=1e-5)


def test_samples_have_the_covariance_and_the_error_is_the_measured_one():
    prior = stationary()
    generator = torch.Generator().manual_seed(0)
    x = prior.sample(20000, generator)
    centred = x.flatten(1).double() - prior.mean.flatten()
    torch.testing.assert_close(centred.T @ centred / len(x), prior.covariance, rtol=0, atol=0.02)
    noisy = x + 0.4 * torch.randn(x.shape, generator=generator)
    measured = (prior(noisy, torch.full((20000,), 0.4)) - x).square().mean().item()
    assert measured == pytest.approx(prior.error(torch.tensor([0.4])).item(), rel=0.02)
    assert prior.info.variance(torch.tensor([0.4])).item() == pytest.approx(measured, rel=0.02)


def test_posterior_satisfies_the_normal_equations():
    prior = stationary()
    matrix = torch.randn(20, 60, dtype=torch.float64)
    y = torch.randn(3, 20, dtype=torch.float64)
    noise = torch.linspace(0.1, 1.0, 20, dtype=torch.float64)
    mean, covariance = gaussian_posterior(prior.mean.flatten(), prior.covariance, matrix, y, noise)
    precision = matrix.T @ torch.diag(1 / noise) @ matrix + torch.linalg.inv(prior.covariance)
    torch.testing.assert_close(covariance @ precision, torch.eye(60, dtype=torch.float64), rtol=0, atol=1e-8)
    information = (y / noise) @ matrix + torch.linalg.solve(prior.covariance, prior.mean.flatten())
    torch.testing.assert_close(mean @ precision, information)


def test_operator_matrix_reproduces_the_operator():
    def forward(x):
        return x[:, :, ::2, 1:].flip(2)

    x = torch.randn(1, 2, 4, 3)
    matrix = operator_matrix(forward, (2, 4, 3))
    torch.testing.assert_close((matrix @ x.flatten().double()).float(), forward(x).flatten())


def test_gradient_is_the_covariance_filter():
    prior = GaussianDenoiser(torch.zeros(1, 2, 2), torch.eye(4))
    x = torch.randn(1, 1, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior(x, torch.tensor([1.0])).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 0.5))


def test_rows_do_not_depend_on_each_other():
    prior = stationary()
    x, sigma = torch.randn(4, 2, 6, 5), torch.tensor([0.1, 0.2, 1.0, 3.0])
    together = prior(x, sigma)
    for i in range(4):
        torch.testing.assert_close(prior(x[i : i + 1], sigma[i : i + 1])[0], together[i], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"covariance": torch.eye(4), "spectrum": torch.ones(2, 2)},
        {"covariance": torch.eye(3)},
        {"covariance": -torch.eye(4)},
        {"covariance": torch.triu(torch.ones(4, 4))},
        {"spectrum": torch.ones(3, 2)},
    ],
)
def test_what_is_no_covariance_is_refused(arguments):
    with pytest.raises(ParameterError):
        GaussianDenoiser(torch.zeros(1, 2, 2), **arguments)


def test_another_size_is_refused():
    with pytest.raises(ParameterError, match=r"\(2, 6, 5\)"):
        stationary()(torch.zeros(1, 2, 5, 6), torch.ones(1))


def test_an_asymmetric_spectrum_is_refused():
    spectrum = torch.ones(4, 4)
    spectrum[1, 0] = 2.0
    with pytest.raises(ParameterError, match="symmetric"):
        GaussianDenoiser(torch.zeros(1, 4, 4), spectrum=spectrum)
