"""diffusers (https://huggingface.co/docs/diffusers): priors as `UNet2DModel`s of its pipelines, and back.

A pipeline's network sees z = sqrt(a) x0 + sqrt(1 - a) n at timestep t, a = alphas_cumprod[t], and predicts n. With
sigma = sqrt((1 - a) / a), z / sqrt(a) = x0 + sigma n is what a prior D takes, and n = (z / sqrt(a) - D) / sigma.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.errors import UnsupportedNetworkError
from models.interchange.diffusers_schedule import scheduler_for
from models.loaders.parametrisation import parametrised
from models.loaders.schedules import alphas_cumprod
from restore.prior.protocol import Denoiser, PriorInfo


def to_diffusers(prior: Denoiser, scheduler: Any = None, sample_size: int = 256) -> tuple[Any, Any]:
    """A prior as the `unet` and the `scheduler` of a diffusers pipeline such as `DDPMPipeline` or `DDIMPipeline`.

    Args:
        prior: for pictures of any size.
        scheduler: any variance-preserving one of diffusers with epsilon prediction; one over the noise levels that
            the prior knows when None. Outside of them the prior is asked for its nearest.
        sample_size: side of the pictures that a pipeline makes.

    Raises:
        ImportError: diffusers is not installed.
        UnsupportedNetworkError: another kind of scheduler.
    """
    from diffusers import ConfigMixin, ModelMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.models.unets.unet_2d import UNet2DOutput

    chosen = scheduler_for(prior.info) if scheduler is None else scheduler
    described = dict(chosen.config) | {"_class_name": type(chosen).__name__}
    if described.get("prediction_type", "epsilon") != "epsilon":
        raise UnsupportedNetworkError("a scheduler with epsilon prediction is needed")
    bars = alphas_cumprod(described).float()

    class PriorUNet(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
        @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
        def __init__(self, sample_size: int, in_channels: int, out_channels: int) -> None:
            super().__init__()
            self.register_buffer("bars", bars)
            self.prior = prior

        def forward(
            self, sample: Tensor, timestep: Tensor | float | int, class_labels: None = None, return_dict: bool = True
        ) -> Any:
            del class_labels
            steps = torch.as_tensor(timestep, device=sample.device).reshape(-1).long().expand(len(sample))
            a = self.bars.to(sample.device)[steps]
            sigma = ((1.0 - a) / a).sqrt()
            x = sample.float() * a.rsqrt().view(-1, 1, 1, 1)
            info = self.prior.info
            known = sigma.clamp(info.sigma_min, info.sigma_max)
            # Beyond the largest level a picture is all but noise: scaled to the noise that the prior knows.
            scale = torch.where(sigma > info.sigma_max, known / sigma, torch.ones_like(sigma)).view(-1, 1, 1, 1)
            noise = (x - self.prior(x * scale, known)) / sigma.view(-1, 1, 1, 1)
            output = noise.to(sample.dtype)
            return UNet2DOutput(sample=output) if return_dict else (output,)

    return PriorUNet(sample_size, prior.info.channels, prior.info.channels), chosen


class FromDiffusers:
    """A network of diffusers as a prior, see `from_diffusers`."""

    def __init__(self, network: torch.nn.Module, info: PriorInfo) -> None:
        self._network, self._info = network, info

    @property
    def info(self) -> PriorInfo:
        return self._info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, 3, H, W] float32 in [-1, 1] plus noise, sigma [N] float32."""
        answer: Tensor = self._network(x, sigma)
        return answer


def from_diffusers(unet: Any, scheduler: Any, name: str = "diffusers") -> FromDiffusers:
    """The `unet` and `scheduler` of a pipeline in memory as a prior; `models.loaders.load` reads them from a folder.

    Args:
        unet: an unconditional `UNet2DModel` of RGB pictures; shared, not copied.
        scheduler: DDPM's, DDIM's or one of their solvers, EDM's, or the consistency models'.
        name: reported.

    Raises:
        UnsupportedNetworkError: another network or scheduler.
    """
    from models.loaders.diffusers_folder import DiffusersUNet

    config = unet.config
    if config.in_channels != 3 or config.out_channels not in (3, 6):
        raise UnsupportedNetworkError("the network is not of RGB pictures")
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        raise UnsupportedNetworkError("the network wants classes; load its folder, and choose one there")
    network = parametrised(
        DiffusersUNet(unet, False), dict(scheduler.config) | {"_class_name": type(scheduler).__name__}
    )
    side = config.sample_size
    info = PriorInfo(
        name,
        sigma_min=network.sigma_min,
        sigma_max=network.sigma_max,
        multiple_of=2 ** (len(config.block_out_channels) - 1),
        native_size=int(side) if isinstance(side, int) else None,
        receptive_field=2 * int(side) if isinstance(side, int) else 512,
        differentiable=True,
    )
    return FromDiffusers(network.to(unet.device), info)
