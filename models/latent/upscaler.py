"""LDM-SR and the Stable Diffusion x4 upscaler (Rombach et al. 2022) as enlargers that keep to the picture given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.latent.projection import SCALE, project, project_bounded
from models.latent.tiles import tiled_call
from models.loaders.schedules import alphas_cumprod
from restore.errors import ParameterError

Prediction = Literal["epsilon", "v_prediction"]

#: Latent pixels of a tile and shared by neighbours: half of the 128 that both networks were trained on (512 pixels).
TILE, OVERLAP = 64, 16
#: Of the small picture's own noise that SD's network is told; diffusers' default is 20 of 1000.
NOISE_LEVEL = 20


@dataclass
class LatentUpscaler:
    """Enlarges pictures four times.

    The network denoises a latent beside the small picture by DDIM without noise (Song et al. 2021, eq. 12). At some
    steps, and at the end, the estimate is decoded, projected onto the pictures that shrink to the small one, and
    encoded again; so detail is the network's, and everything that the small picture says is the small picture's.

    Attributes:
        network: (latent and small picture [N, C + 3, h, w], t [N]) -> [N, C, h, w].
        encode: [N, 3, 4 h, 4 w] in [-1, 1] -> latents [N, C, h, w], scaled as the network knows them.
        decode: latents -> pictures.
        scheduler: configuration of its scheduler, in diffusers' words.
        channels: C.
        multiple_of: height and width of what the network is given are divisible by this.
        noise_scheduler: of the noise that is added to the small picture; None for LDM-SR, which has none.
        tile, overlap: see `models.latent.tiles.tiled_call`; in latent pixels.
    """

    network: Callable[[Tensor, Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    scheduler: dict[str, Any]
    channels: int
    multiple_of: int
    noise_scheduler: dict[str, Any] | None = None
    tile: int = TILE
    overlap: int = OVERLAP

    @torch.no_grad()
    def upscale(self, small: Tensor, *, steps: int = 50, corrections: int = 2, seed: int = 0) -> Tensor:
        """Enlarge pictures [N, 3, h, w] in [-1, 1], any h and w: [N, 3, 4 h, 4 w].

        Args:
            small: what was measured.
            steps: calls of the network.
            corrections: steps among them whose estimate is brought to agree with `small`; the result always is. 0 and
                no projection at the end, the bare model, for -1.
            seed: of the latent that it starts from.

        Raises:
            ParameterError: not RGB, or fewer steps than one.
        """
        if small.ndim != 4 or small.shape[1] != 3 or steps < 1 or corrections < -1:
            raise ParameterError("RGB pictures [N, 3, h, w], one step or more and -1 correction or more are needed")
        height, width = small.shape[2:]
        padded = _padded(small.float(), self.multiple_of)
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(len(padded), self.channels, *padded.shape[2:], generator=generator).to(padded)
        beside = self._noised(padded, generator)
        bars = alphas_cumprod(self.scheduler).float()
        times, prediction = _times(self.scheduler, steps), _prediction(self.scheduler)
        corrected = _spread(corrections, steps)
        for index, t in enumerate(times):
            a = bars[t]
            following = bars[times[index + 1]] if index + 1 < steps else _final(self.scheduler, bars)
            output = self._output(latent, beside, t)
            if prediction == "epsilon":
                estimate = (latent - (1 - a).sqrt() * output) / a.sqrt()
            else:
                estimate = a.sqrt() * latent - (1 - a).sqrt() * output
            if index in corrected:
                estimate = self._encoded(project(self._decoded(estimate), padded))
            noise = (latent - a.sqrt() * estimate) / (1 - a).sqrt()
            latent = following.sqrt() * estimate + (1 - following).sqrt() * noise
        large = self._decoded(latent)[:, :, : SCALE * height, : SCALE * width]
        return large.clamp(-1, 1) if corrections < 0 else project_bounded(large, small.to(large))

    def _noised(self, small: Tensor, generator: torch.Generator) -> Tensor:
        if self.noise_scheduler is None:
            return small
        a = alphas_cumprod(self.noise_scheduler).float()[NOISE_LEVEL]
        noise = torch.randn(small.shape, generator=generator).to(small)
        return a.sqrt() * small + (1 - a).sqrt() * noise

    def _output(self, latent: Tensor, beside: Tensor, t: int) -> Tensor:
        def answer(x: Tensor) -> Tensor:
            return self.network(x, torch.full((len(x),), t, device=x.device, dtype=torch.long))

        return tiled_call(answer, torch.cat([latent, beside], 1), self.tile, self.overlap)

    def _decoded(self, latent: Tensor) -> Tensor:
        return tiled_call(self.decode, latent, self.tile, self.overlap, SCALE)

    def _encoded(self, picture: Tensor) -> Tensor:
        return tiled_call(self.encode, picture, SCALE * self.tile, SCALE * self.overlap, 1 / SCALE)


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Repeated at the right and below up to a multiple."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _prediction(scheduler: dict[str, Any]) -> Prediction:
    return "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon"


def _times(scheduler: dict[str, Any], steps: int) -> list[int]:
    """Falling timesteps, evenly from the first: diffusers' "leading" spacing."""
    total = int(scheduler.get("num_train_timesteps", 1000))
    if steps > total:
        raise ParameterError(f"{steps} steps of a network with {total} timesteps")
    offset = int(scheduler.get("steps_offset", 0))
    return [min(k * (total // steps) + offset, total - 1) for k in reversed(range(steps))]


def _final(scheduler: dict[str, Any], bars: Tensor) -> Tensor:
    return torch.ones(()) if scheduler.get("set_alpha_to_one", True) else bars[0]


def _spread(corrections: int, steps: int) -> set[int]:
    """So many steps, evenly over the second half, where the estimate is a picture already."""
    half = steps // 2
    return {half + (k + 1) * (steps - half) // (corrections + 1) - 1 for k in range(max(corrections, 0))}
