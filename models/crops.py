"""Random patches of photographs, cut where the network trains.

All pixels lie in one flat tensor on the device, so that a batch is one gather. Cutting on the processor and sending
patches over feeds a handful of its cores, but not a GPU that trains on fifty megapixels a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.extreme_pictures import extreme_pictures

#: Synthetic pictures beside the photographs, and their side in pixels (larger when a patch is).
SYNTHETIC_PICTURES, SYNTHETIC_SIDE = 384, 224


class Crops:
    """Patches [N, 3, patch, patch] uint8, uniform over all pixels, with the 8 flips and rotations.

    With `shrink` below 1, every picture has a smaller copy beside it, area-averaged by a factor drawn from [shrink, 1],
    and every other patch is cut from one of those: finer texture and sharper edges than the photographs hold at their
    own size.

    Args:
        pictures: uint8 [H, W, 3] each; those smaller than a patch are left out.
        patch: side of a patch in pixels.
        shrink: smallest factor of the smaller copies; 1 for none.
        synthetic: share of the patches that are of `extreme_pictures`.
        seed: of the factors and the synthetic pictures.
        device: where the pixels are kept and the patches are cut.

    Raises:
        ValueError: no picture is as large as a patch.
    """

    def __init__(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        patch: int,
        shrink: float = 1.0,
        synthetic: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.patch = patch
        usable = [picture for picture in pictures if min(picture.shape[:2]) >= patch]
        if not usable:
            raise ValueError(f"no picture is as large as a patch of {patch} pixels")
        groups = [(usable, 1.0 - synthetic)]
        if shrink < 1.0:
            smaller = [p for p in _smaller_copies(usable, shrink, seed) if min(p.shape[:2]) >= patch]
            half = (1.0 - synthetic) / 2.0 if smaller else 0.0
            groups = [(usable, 1.0 - synthetic - half), (smaller, half)]
        if synthetic > 0.0:
            groups.append((extreme_pictures(SYNTHETIC_PICTURES, max(SYNTHETIC_SIDE, patch), seed), synthetic))
        shapes, chances = [], []
        for group, share in groups:
            areas = np.array([p.shape[0] * p.shape[1] for p in group], float)
            chances.append(share * areas / areas.sum() if group else areas)
            shapes += [p.shape[:2] for p in group]
        heights, widths = np.array(shapes).T
        ends = np.cumsum(heights * widths)
        pixels = np.empty((int(ends[-1]), 3), np.uint8)
        for picture, end in zip((p for group, _ in groups for p in group), ends, strict=True):
            flat = picture.reshape(-1, 3)
            pixels[int(end) - len(flat) : int(end)] = flat
        self.pixels = torch.from_numpy(pixels).to(device)
        self._starts = torch.from_numpy(ends - heights * widths).to(device)
        self._heights, self._widths = (torch.from_numpy(v).to(device) for v in (heights, widths))
        self._chances = torch.from_numpy(np.concatenate(chances)).float().to(device)

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Cut `count` patches; uint8, on the device, channels last in memory.

        Args:
            count: of patches.
            generator: of every draw; on the device.
        """
        device, patch = self.pixels.device, self.patch
        chosen = torch.multinomial(self._chances, count, replacement=True, generator=generator)
        place = torch.rand(2, count, generator=generator, device=device, dtype=torch.float64)
        turns = torch.rand(3, count, 1, 1, generator=generator, device=device) < 0.5
        widths = self._widths[chosen]
        top = (place[0] * (self._heights[chosen] - patch + 1)).long().view(-1, 1, 1)
        left = (place[1] * (widths - patch + 1)).long().view(-1, 1, 1)
        along = torch.arange(patch, device=device)
        rows, columns = along.view(1, -1, 1), along.view(1, 1, -1)
        rows, columns = torch.where(turns[0], columns, rows), torch.where(turns[0], rows, columns)
        rows = torch.where(turns[1], patch - 1 - rows, rows)
        columns = torch.where(turns[2], patch - 1 - columns, columns)
        index = self._starts[chosen].view(-1, 1, 1) + (top + rows) * widths.view(-1, 1, 1) + left + columns
        return self.pixels[index].permute(0, 3, 1, 2)

    def batches(self, count: int, seed: int) -> Iterator[Tensor]:
        """Endless batches; the same for the same seed on the same kind of device."""
        generator = torch.Generator(self.pixels.device).manual_seed(seed)
        while True:
            yield self.batch(count, generator)


def _smaller_copies(pictures: Sequence[NDArray[np.uint8]], shrink: float, seed: int) -> list[NDArray[np.uint8]]:
    factors = np.random.default_rng(seed).uniform(shrink, 1.0, len(pictures))

    def copy(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
        height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
        smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(smaller, dtype=np.uint8)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(copy, pictures, factors.tolist()))
