"""deepinv (https://deepinv.github.io): its pictures are in [0, 1], its noise level is half of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.protocol import Denoiser, PriorInfo


def to_deepinv(prior: Denoiser) -> Any:
    """A prior as a `deepinv.models.Denoiser`: for its plug-and-play, diffusion and sampling algorithms.

    Gradients flow through where the prior's do (`info.differentiable`). Pictures are answered where they lie.

    Args:
        prior: for pictures of any size, such as `models.registry.load_denoiser` gives.

    Raises:
        ImportError: deepinv is not installed.
    """
    from deepinv.models import Denoiser as DeepinvDenoiser

    class PriorDenoiser(DeepinvDenoiser):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__(device="cpu")
            self.prior = prior

        def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
            levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1)
            if len(levels) not in (1, len(x)):
                raise ParameterError(f"{len(levels)} noise levels for {len(x)} pictures: one, or one a picture")
            answer = self.prior(2.0 * x.float() - 1.0, 2.0 * levels.expand(len(x)))
            return (0.5 * answer + 0.5).to(x.dtype)

    return PriorDenoiser()


class FromDeepinv:
    """A denoiser of deepinv's as a prior, see `from_deepinv`."""

    def __init__(self, denoiser: Any, info: PriorInfo) -> None:
        self._denoiser, self._info = denoiser, info

    @property
    def info(self) -> PriorInfo:
        return self._info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, C, H, W] float32 in [-1, 1] plus noise, sigma [N] float32."""
        answer: Tensor = self._denoiser(0.5 * x + 0.5, 0.5 * sigma)
        return (2.0 * answer - 1.0).clamp(-1.0, 1.0).to(x)


def from_deepinv(
    denoiser: Any,
    name: str | None = None,
    *,
    sigma_min: float = 0.01,
    sigma_max: float = 1.0,
    channels: int = 3,
    multiple_of: int = 1,
    receptive_field: int = 256,
) -> FromDeepinv:
    """A denoiser of deepinv's (DRUNet, GSDRUNet, SwinIR, TV, ...) as a prior.

    Args:
        denoiser: called with pictures in [0, 1] and noise levels [N].
        name: reported; its class's name when None.
        sigma_min: smallest noise level that it knows, range [-1, 1] (twice deepinv's).
        sigma_max: largest one; the default is what DRUNet was trained up to, twice 0.5.
        channels: of the pictures.
        multiple_of: height and width must be divisible by this.
        receptive_field: pixels across.

    Raises:
        ParameterError: it cannot be called.
    """
    if not callable(denoiser):
        raise ParameterError(f"a {type(denoiser).__name__} is no denoiser")
    info = PriorInfo(
        name or type(denoiser).__name__,
        channels=channels,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        multiple_of=multiple_of,
        receptive_field=receptive_field,
        differentiable=isinstance(denoiser, torch.nn.Module),
    )
    return FromDeepinv(denoiser, info)
