"""DDRM: denoising in the degradation's singular basis."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from restore.sampling.calls import ask, check_fraction, linear, row_noise_level, transitions
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range


def ddrm(problem: Problem, sigmas: Sequence[float] | None = None, *, eta: float = 0.85, eta_b: float = 1.0) -> Sampling:
    """Kawar et al. 2022, "Denoising Diffusion Restoration Models", eqs. 7-8.

    Per coordinate of V^T x with singular value s and n = sigma_y / s, from D's answer d to the next level t:

        s = 0:   d + sqrt(1 - eta^2) t (x - d) / sigma + eta t z
        t < n:   d + sqrt(1 - eta^2) t (y - d) / n     + eta t z
        t >= n:  (1 - eta_b) d + eta_b y + sqrt(t^2 - eta_b^2 n^2) z

    Args:
        problem: linear degradation with a `spectrum`, noise of one level a row.
        sigmas: None for 20 levels (the paper's number of calls) over the prior's range.
        eta: share of fresh noise where y says little, 0.85 (paper).
        eta_b: trust in y where it says much, 1 (paper).

    Makes len(sigmas) calls.

    Raises:
        ParameterError: no spectrum, noise that differs within a row, or a knob out of range.
    """
    check_fraction(eta=eta, eta_b=eta_b)
    levels = full_range(20, problem.prior) if sigmas is None else tuple(sigmas)
    schedule = transitions(levels)
    degradation, noise = linear(problem, "ddrm"), row_noise_level(problem, "ddrm")
    basis = degradation.spectrum(degradation.image_shape(problem.y))
    seen = basis.singular > 0
    singular = basis.singular.clamp(min=1e-20)
    n = noise / singular  # the noise of y in the picture's units
    y = basis.to_u(problem.y) / singular
    z = basis.to_v(problem.noise.like(basis.from_v(y)))
    x = torch.where(seen & (n < levels[0]), y + (levels[0] ** 2 - n**2).clamp(min=0).sqrt() * z, levels[0] * z)
    for step, sigma, t in schedule:
        answer = yield ask(basis.from_v(x), sigma, step, len(levels))
        d, z = basis.to_v(answer), basis.to_v(problem.noise.like(answer))
        kept = (1.0 - eta**2) ** 0.5 * t
        unseen = d + kept * (x - d) / sigma + eta * t * z
        noisy = d + kept * (y - d) / n.clamp(min=1e-20) + eta * t * z
        clean = d.lerp(y, eta_b) + (t**2 - (eta_b * n) ** 2).clamp(min=0).sqrt() * z
        x = torch.where(seen, torch.where(t < n, noisy, clean), unseen)
    return basis.from_v(x)
