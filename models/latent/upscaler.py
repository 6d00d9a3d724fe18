"""LDM-SR and the Stable Diffusion x4 upscaler (Rombach et al. 2022) as enlargers that keep to the picture given."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.latent.projection import SCALE, project, project_bounded
from models.latent.tiles import count_tiles, finished, tiled_calls
from models.loaders.schedules import alphas_cumprod
from restore.errors import ParameterError
from restore.prior.enlarger import Enlarging, EnlargingStep
from restore.prior.protocol import PriorInfo

Prediction = Literal["epsilon", "v_prediction"]
Work = Generator[None, None, Tensor]

#: Latent pixels of a tile and shared by neighbours: half of the 128 that both networks were trained on (512 pixels).
TILE, OVERLAP = 64, 16
#: Tiles are not made smaller than this for want of memory: a quarter, in which a network sees little of a picture.
SMALLEST_TILE = 16
#: Of the small picture's own noise that SD's network is told; diffusers' default is 20 of 1000.
NOISE_LEVEL = 20
#: Calls of the network, and how many of their estimates are brought to agree with the small picture.
STEPS, CORRECTIONS = 50, 2


@dataclass
class LatentUpscaler:
    """Enlarges pictures four times; an `Enlarger` (restore.prior.enlarger).

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
        tile, overlap: see `models.latent.tiles.tiled_calls`; in latent pixels, which are the small picture's.
        info: its facts.
        device: where it runs.
        weight_bytes: what its weights take there.
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
    info: PriorInfo = field(default_factory=lambda: PriorInfo("latent upscaler"))
    device: str = "cpu"
    weight_bytes: int = 0

    @property
    def scale(self) -> int:
        """How many times it enlarges."""
        return SCALE

    @property
    def steps(self) -> int:
        """Calls of the network when nobody says how many."""
        return STEPS

    def retiled(self, tile: int) -> LatentUpscaler:
        """The same in tiles of another side.

        Raises:
            ParameterError: no multiple of `multiple_of`, or below `SMALLEST_TILE`.
        """
        if tile % self.multiple_of or tile < SMALLEST_TILE:
            raise ParameterError(
                f"the prior {self.info.name!r} takes tiles whose side is a multiple of {self.multiple_of} pixels of "
                f"the small picture, {SMALLEST_TILE} at least, not {tile}"
            )
        return replace(self, tile=tile, overlap=min(OVERLAP, tile // 4))

    def smaller(self) -> LatentUpscaler | None:
        """The same in tiles of half the side; None when they would be too small."""
        tile = self.tile // 2 - (self.tile // 2) % self.multiple_of
        return self.retiled(tile) if tile >= SMALLEST_TILE else None

    def upscale(self, small: Tensor, *, steps: int = STEPS, corrections: int = CORRECTIONS, seed: int = 0) -> Tensor:
        """Enlarge pictures [N, 3, h, w] in [-1, 1], any h and w: [N, 3, 4 h, 4 w].

        Args:
            small: what was measured.
            steps: calls of the network.
            corrections: see `enlarge`.
            seed: see `enlarge`.

        Raises:
            ParameterError: see `enlarge`.
        """
        return finished(self.enlarge(small, steps=steps, corrections=corrections, seed=seed))

    @torch.no_grad()
    def enlarge(self, small: Tensor, *, steps: int, seed: int, corrections: int = CORRECTIONS) -> Enlarging:
        """The same tile by tile; yields after each how far it is. The result is on the CPU.

        Args:
            small: what was measured.
            steps: calls of the network.
            seed: of the latent that it starts from.
            corrections: steps among them whose estimate is brought to agree with `small`; the result always is. 0 and
                no projection at the end, the bare model, for -1.

        Raises:
            ParameterError: not RGB, fewer steps than one, or more than it was trained with.
        """
        if small.ndim != 4 or small.shape[1] != 3 or steps < 1 or corrections < -1:
            raise ParameterError("RGB pictures [N, 3, h, w], one step or more and -1 correction or more are needed")
        times, prediction = _times(self.scheduler, steps), _prediction(self.scheduler)
        height, width = small.shape[2:]
        small = small.to(self.device, torch.float32)
        padded = _padded(small, self.multiple_of)
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(len(padded), self.channels, *padded.shape[2:], generator=generator).to(padded)
        beside = self._noised(padded, generator)
        bars = alphas_cumprod(self.scheduler).float()
        corrected = _spread(corrections, steps)
        told = _Told(
            steps,
            count_tiles(padded.shape[2], padded.shape[3], self.tile, self.overlap) * (steps + 2 * len(corrected) + 1),
        )
        for index, t in enumerate(times):
            a = bars[t]
            following = bars[times[index + 1]] if index + 1 < steps else _final(self.scheduler, bars)
            told.sigma = float(((1 - a) / a).sqrt())
            output = yield from told.tiles(self._output(latent, beside, t))
            if prediction == "epsilon":
                estimate = (latent - (1 - a).sqrt() * output) / a.sqrt()
            else:
                estimate = a.sqrt() * latent - (1 - a).sqrt() * output
            if index in corrected:
                decoded = yield from told.tiles(self._decoded(estimate))
                agreeing = project(decoded, padded)
                told.estimate = agreeing[:, :, : SCALE * height, : SCALE * width].clamp(-1, 1).cpu()
                estimate = yield from told.tiles(self._encoded(agreeing))
            noise = (latent - a.sqrt() * estimate) / (1 - a).sqrt()
            latent = following.sqrt() * estimate + (1 - following).sqrt() * noise
            told.step = index + 1
            yield told.now()
        large = (yield from told.tiles(self._decoded(latent)))[:, :, : SCALE * height, : SCALE * width]
        return (large.clamp(-1, 1) if corrections < 0 else project_bounded(large, small)).cpu()

    def _noised(self, small: Tensor, generator: torch.Generator) -> Tensor:
        if self.noise_scheduler is None:
            return small
        a = alphas_cumprod(self.noise_scheduler).float()[NOISE_LEVEL]
        noise = torch.randn(small.shape, generator=generator).to(small)
        return a.sqrt() * small + (1 - a).sqrt() * noise

    def _output(self, latent: Tensor, beside: Tensor, t: int) -> Work:
        def answer(x: Tensor) -> Tensor:
            return self.network(x, torch.full((len(x),), t, device=x.device, dtype=torch.long))

        return tiled_calls(answer, torch.cat([latent, beside], 1), self.tile, self.overlap)

    def _decoded(self, latent: Tensor) -> Work:
        return tiled_calls(self.decode, latent, self.tile, self.overlap, SCALE)

    def _encoded(self, picture: Tensor) -> Work:
        return tiled_calls(self.encode, picture, SCALE * self.tile, SCALE * self.overlap, 1 / SCALE)


class _Told:
    """How far an enlargement is."""

    def __init__(self, steps: int, tiles: int) -> None:
        self.step, self.sigma = 0, 0.0
        self.estimate: Tensor | None = None
        self._steps, self._tiles, self._done = steps, tiles, 0

    def now(self) -> EnlargingStep:
        """For whoever drives it."""
        fraction = min(self._done / self._tiles, 1.0)
        return EnlargingStep(self.step, self._steps, fraction, self.sigma, self.estimate)

    def tiles(self, work: Work) -> Enlarging:
        """A network's answer, telling after every tile."""
        try:
            while True:
                next(work)
                self._done += 1
                yield self.now()
        except StopIteration as stop:
            answer: Tensor = stop.value
            return answer


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
