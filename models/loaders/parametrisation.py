"""Raw diffusion networks as networks of the denoiser's form: (x in [-1, 1] plus noise, sigma) -> the denoised picture.

Plain modules of exportable operations, so that a runtime takes preconditioning and network as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.errors import UnsupportedNetworkError
from models.loaders.schedules import VARIANCE_PRESERVING, alphas_cumprod
from restore.prior.wrappers import Prediction, Timesteps, vp_estimate

#: diffusers' schedulers of networks with the preconditioning of Karras et al. 2022.
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
CONSISTENCY = "CMStochasticIterativeScheduler"

#: Noise levels of EDM networks and consistency models where nothing is said: Karras et al. 2022, table 1.
EDM_SIGMA_MIN, EDM_SIGMA_MAX, EDM_SIGMA_DATA = 0.002, 80.0, 0.5


class VariancePreserving(nn.Module):
    """A network trained on sqrt(a) x0 + sqrt(1 - a) n at discrete timesteps, read at any sigma between them.

    Args:
        network: (x [N, 3, H, W], t [N]) -> [N, 3 or 6, H, W]; channels beyond the third, a learned variance, are
            dropped.
        bars: [T] cumulative products of alpha.
        prediction: what it predicts.
        timestep_scale: what a timestep is multiplied with before the network sees it (improved-diffusion's
            `rescale_timesteps`).
    """

    def __init__(
        self, network: nn.Module, bars: Tensor, prediction: Prediction = "epsilon", timestep_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.network, self.prediction, self.timestep_scale = network, prediction, timestep_scale
        self.timesteps = Timesteps(bars)

    @property
    def sigma_min(self) -> float:
        """The smallest noise level of the schedule."""
        return self.timesteps.sigma_min

    @property
    def sigma_max(self) -> float:
        """The largest noise level of the schedule."""
        return self.timesteps.sigma_max

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.float().view(-1, 1, 1, 1)
        t = self.timesteps(sigma.float()) * self.timestep_scale
        output = self.network(x * (1.0 + s.square()).rsqrt(), t)[:, :3].float()
        return vp_estimate(self.prediction, x, s, output).clamp(-1.0, 1.0)


class Preconditioned(nn.Module):
    """A network with EDM's preconditioning (Karras et al. 2022, table 1), or a consistency model's.

    D = c_skip x + c_out F(c_in x, c_noise), c_in = 1/sqrt(sigma^2 + s^2), c_noise = noise_scale log(sigma)/4; with
    b = `boundary`, c_skip = s^2/((sigma - b)^2 + s^2) and c_out = (sigma - b) s/sqrt(sigma^2 + s^2). b = 0 is EDM; a
    consistency model (Song et al. 2023, appendix C) is the identity at its smallest level b.

    Args:
        network: (x [N, 3, H, W], c_noise [N]) -> [N, 3, H, W].
        sigma_data: s.
        noise_scale: 1000 in OpenAI's networks, whose embedding expects timesteps.
        boundary: b.
        negative: whether the network predicts the opposite of F (diffusers' EDM schedulers with "v_prediction").
        sigma_min: smallest noise level it was trained on.
        sigma_max: largest one.
    """

    def __init__(
        self,
        network: nn.Module,
        sigma_data: float = EDM_SIGMA_DATA,
        noise_scale: float = 1.0,
        boundary: float = 0.0,
        negative: bool = False,
        sigma_min: float = EDM_SIGMA_MIN,
        sigma_max: float = EDM_SIGMA_MAX,
    ) -> None:
        super().__init__()
        self.network, self.sigma_data, self.noise_scale = network, sigma_data, noise_scale
        self.boundary, self.sign = boundary, -1.0 if negative else 1.0
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.float()
        if self.boundary:
            level = torch.clamp(level, min=self.boundary)
        s, data = level.view(-1, 1, 1, 1), self.sigma_data
        c_in = (s.square() + data**2).rsqrt()
        c_skip = data**2 / ((s - self.boundary).square() + data**2)
        c_out = self.sign * (s - self.boundary) * data * c_in
        output: Tensor = self.network(c_in * x, self.noise_scale * 0.25 * level.log()).float()
        return (c_skip * x + c_out * output).clamp(-1.0, 1.0)


def parametrised(network: nn.Module, scheduler: Mapping[str, Any]) -> VariancePreserving | Preconditioned:
    """A raw network in the denoiser's form, by its scheduler's configuration.

    Args:
        network: (x, t) -> output.
        scheduler: in diffusers' words; "timestep_scale" and "noise_scale" are this package's additions.

    Raises:
        UnsupportedNetworkError: a scheduler or a prediction that is not known.
    """
    kind = scheduler.get("_class_name")
    prediction = scheduler.get("prediction_type") or "epsilon"
    if scheduler.get("predict_epsilon") is False:
        # How diffusers said "sample" before 0.9.
        prediction = "sample"
    if kind in EDM or kind == CONSISTENCY:
        if kind in EDM and prediction not in ("epsilon", "v_prediction"):
            raise UnsupportedNetworkError(f"{kind} with prediction {prediction!r} is not known")
        low = float(scheduler.get("sigma_min", EDM_SIGMA_MIN))
        return Preconditioned(
            network,
            sigma_data=float(scheduler.get("sigma_data", EDM_SIGMA_DATA)),
            noise_scale=float(scheduler.get("noise_scale", 1000.0 if kind == CONSISTENCY else 1.0)),
            boundary=low if kind == CONSISTENCY else 0.0,
            negative=kind in EDM and prediction == "v_prediction",
            sigma_min=low,
            sigma_max=float(scheduler.get("sigma_max", EDM_SIGMA_MAX)),
        )
    if kind not in VARIANCE_PRESERVING:
        raise UnsupportedNetworkError(
            f"networks of the scheduler {kind!r} are not known; known are DDPM, DDIM and their solvers, "
            "EDM schedulers and consistency models"
        )
    if scheduler.get("timestep_type") == "continuous" or scheduler.get("use_flow_sigmas"):
        raise UnsupportedNetworkError(f"{kind} with continuous timesteps or flow matching is not known")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise UnsupportedNetworkError(
            f"the prediction {prediction!r} is not known; known: epsilon, v_prediction, sample"
        )
    bars, scale = alphas_cumprod(scheduler), float(scheduler.get("timestep_scale", 1.0))
    return VariancePreserving(network, bars, cast(Prediction, prediction), scale)
