"""Samplers: generators of denoiser calls, the schedules they follow, and the driver that runs them."""

from __future__ import annotations

from collections.abc import Callable

from restore.sampling.coarse_to_fine import coarse_to_fine
from restore.sampling.daps import daps
from restore.sampling.ddnm import ddnm
from restore.sampling.ddpg import ddpg
from restore.sampling.ddrm import ddrm
from restore.sampling.denoising import denoise_posterior
from restore.sampling.diffpir import diffpir
from restore.sampling.dps import dps
from restore.sampling.driver import Progress, run, run_many
from restore.sampling.ensemble import self_ensemble
from restore.sampling.pigdm import pigdm
from restore.sampling.protocol import DenoiserCall, Problem, RowNoise, Sampling
from restore.sampling.red_diff import red_diff
from restore.sampling.schedules import ddpm_grid, few_step_sigmas, full_range, log_grid, poly
from restore.sampling.unified import unified

#: Every sampler by name: called with a problem, then optionally levels (None for its own) and its named options.
SAMPLERS: dict[str, Callable[..., Sampling]] = {
    "unified": unified,
    "ddrm": ddrm,
    "ddnm": ddnm,
    "diffpir": diffpir,
    "ddpg": ddpg,
    "red-diff": red_diff,
    "daps": daps,
    "dps": dps,
    "pigdm": pigdm,
}

__all__ = [
    "SAMPLERS",
    "DenoiserCall",
    "Problem",
    "Progress",
    "RowNoise",
    "Sampling",
    "coarse_to_fine",
    "daps",
    "ddnm",
    "ddpg",
    "ddpm_grid",
    "ddrm",
    "denoise_posterior",
    "diffpir",
    "dps",
    "few_step_sigmas",
    "full_range",
    "log_grid",
    "pigdm",
    "poly",
    "red_diff",
    "run",
    "run_many",
    "self_ensemble",
    "unified",
]
