"""A picture seen as luma and two colours: what is known about each can differ."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.grey import BT601
from restore.degradations.identity import Isometry
from restore.degradations.noise import NoiseModel
from restore.errors import ParameterError


class Opponent(Isometry):
    """y = H x + n, [N, 3, H, W] -> [N, 3, H, W], H the orthonormal and symmetric reflection (Householder 1958) that
    makes the first channel the luma, divided by the length of its weights, and the others two directions without luma.

    Its noise can say how well luma and colour are known.

    Args:
        noise: of y.
        weights: of luma; BT.601 by default.

    Raises:
        ParameterError: fewer than two weights, or none of them different from zero.
    """

    def __init__(self, noise: NoiseModel | None = None, weights: tuple[float, ...] = BT601) -> None:
        super().__init__(noise)
        if len(weights) < 2 or not any(weights):
            raise ParameterError(f"Opponent needs one weight a channel, not all zero; got {weights}")
        unit = torch.tensor(weights, dtype=torch.float64)
        unit = unit / unit.norm()
        normal = unit - torch.eye(len(weights), dtype=torch.float64)[0]
        square = normal.dot(normal).clamp_min(1e-30)  # luma may be the first channel already
        self.reflection = torch.eye(len(weights), dtype=torch.float64) - 2.0 * torch.outer(normal, normal) / square

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if x.shape[1] != len(self.reflection):
            raise ParameterError(f"Opponent expects {len(self.reflection)} channels, the picture has {x.shape[1]}")
        turned: Tensor = self.reflection.to(x) @ x.flatten(2)
        return turned.view(x.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]: its own inverse."""
        return self.forward(y)
