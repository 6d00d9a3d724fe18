"""Padding pictures to the sizes a network accepts."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from restore.errors import ParameterError
from restore.prior.protocol import Denoiser, PriorInfo


def reflect_pad(x: Tensor, height: int, width: int) -> Tensor:
    """Grow x [N, C, H, W] to [N, C, height, width] at the bottom and right.

    Mirrors the picture without repeating its border; what a mirror image cannot reach (a picture smaller than its
    padding) repeats the last row or column. Returns x itself when nothing is to be done.

    Raises:
        ValueError: the picture is larger than the target.
    """
    for axis, target in ((2, height), (3, width)):
        missing = target - x.shape[axis]
        if missing < 0:
            raise ValueError(f"cannot pad a side of {x.shape[axis]} pixels to {target}")
        mirrored = min(missing, x.shape[axis] - 1)
        for amount, mode in ((mirrored, "reflect"), (missing - mirrored, "replicate")):
            if amount > 0:
                x = F.pad(x, (0, 0, 0, amount) if axis == 2 else (0, amount, 0, 0), mode=mode)
    return x


class PaddedDenoiser:
    """A denoiser for pictures of any height and width: pads at the bottom and right, denoises, crops.

    Args:
        denoiser: answers for sizes that are multiples of its `info.multiple_of`, or for its `native_size` only.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    @property
    def info(self) -> PriorInfo:
        """The wrapped denoiser's facts, without its restrictions on the size."""
        return replace(self._denoiser.info, multiple_of=1, native_size=None)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x [N, C, H, W], any H and W.

        Raises:
            ParameterError: the picture is larger than the only size the wrapped denoiser accepts.
        """
        height, width = x.shape[2:]
        multiple, native = self._denoiser.info.multiple_of, self._denoiser.info.native_size
        if native is not None and max(height, width) > native:
            raise ParameterError(
                f"prior {self._denoiser.info.name!r} accepts {native}x{native} pixels only, not {width}x{height}; "
                "wrap it in a TiledDenoiser"
            )
        target_height = native if native is not None else -(-height // multiple) * multiple
        target_width = native if native is not None else -(-width // multiple) * multiple
        answer = self._denoiser(reflect_pad(x, target_height, target_width), sigma)
        return answer[:, :, :height, :width]


def padded(denoiser: Denoiser) -> Denoiser:
    """The denoiser for pictures of any size; itself when it already accepts them all."""
    if denoiser.info.multiple_of == 1 and denoiser.info.native_size is None:
        return denoiser
    return PaddedDenoiser(denoiser)
