"""What a restoration returns."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from restore.errors import ParameterError
from restore.images import Picture, encode, save, save_map, to_array, to_pil

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class Result:
    """A restored picture and how it came about.

    Attributes:
        tensor: [1, 3, H, W] float32 sRGB in [-1, 1].
        uncertainty: [1, 1, H, W], standard deviation over the posterior samples on the 0-255 scale; None for a
            single sample.
        picture: the given picture with its metadata.
        report: JSON-ready: task, effective parameters, what was found, seed, number of denoiser calls (nfe),
            seconds, prior, digest and runtime, warnings.
    """

    tensor: Tensor
    uncertainty: Tensor | None
    picture: Picture
    report: dict[str, Any]

    @property
    def image(self) -> Image.Image:
        """The restored picture as a PIL image (8 bit)."""
        return to_pil(self.tensor, self.picture)

    @property
    def array(self) -> NDArray[np.generic]:
        """The restored picture as [H, W, C] in the given picture's depth and colour space, alpha last."""
        return to_array(self.tensor, self.picture)

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything needed to run it again."""
        parameters: dict[str, Any] = self.report["parameters"]
        return parameters

    def encode(self, format: str | None = None, *, keep_gps: bool = False) -> bytes:
        """The encoded file; `format` defaults to the given picture's. What the format could not keep is added to the
        report's warnings."""
        return encode(self.picture, self.tensor, format=format, keep_gps=keep_gps, warnings=self.report["warnings"])

    def save(self, path: str | PathLike[str], *, keep_gps: bool = False) -> None:
        """Write the restored picture; the suffix chooses the format. An existing file is replaced only when complete.

        What the format could not keep is added to the report's warnings.

        Raises:
            ParameterError: an unknown suffix.
            OutputError: the path cannot be written.
        """
        self.report["warnings"] += save(self.picture, self.tensor, path, keep_gps=keep_gps)

    def save_uncertainty(self, path: str | PathLike[str]) -> None:
        """Write the uncertainty map (see `restore.images.save_map`).

        Raises:
            ParameterError: there was only one sample.
        """
        if self.uncertainty is None:
            raise ParameterError("an uncertainty map needs more than one sample: restore with samples=8, say")
        save_map(self.uncertainty, path)
