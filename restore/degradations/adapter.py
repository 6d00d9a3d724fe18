"""Any linear operator of deepinv (https://deepinv.github.io) as a degradation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restore.degradations.base import LinearDegradation
from restore.degradations.conjugate_gradient import solve_gain
from restore.degradations.noise import GaussianNoise, NoiseModel
from restore.degradations.planes import Remembered
from restore.degradations.probing import largest_eigenvalue, probed_error
from restore.errors import ParameterError


class DeepinvAdapter(LinearDegradation):
    """Wraps a `deepinv.physics.LinearPhysics`; only its `A`, `A_adjoint` and noise level are used.

    deepinv works on [0, 1], this library on [-1, 1]. The degradation is y = A x for x in [-1, 1]. With x = 2 u - 1 a
    measurement m = A u + n of deepinv's is y = 2 m - A 1, with twice the noise: `from_deepinv` and `to_deepinv`
    convert.

    Args:
        physics: the operator. Its measurements must be real tensors with the batch first.
        image_size: (C, H, W) of the pictures; by default what `A_adjoint` returns.
        noise: of the measurement, range [-1, 1]; by default twice the physics' own if that is Gaussian, else none.

    Raises:
        ParameterError: the object is not a linear operator; or, at use, its measurement is not a real tensor.
    """

    double = False

    def __init__(
        self, physics: Any, image_size: tuple[int, int, int] | None = None, noise: NoiseModel | None = None
    ) -> None:
        if not callable(getattr(physics, "A", None)) or not callable(getattr(physics, "A_adjoint", None)):
            raise ParameterError(
                f"{type(physics).__name__} has no A and A_adjoint: it is not a linear deepinv operator"
            )
        if noise is None:
            model = getattr(physics, "noise_model", None)
            sigma = getattr(model, "sigma", None) if type(model).__name__ == "GaussianNoise" else None
            noise = GaussianNoise(2.0 * torch.as_tensor(sigma).detach().float() if sigma is not None else 0.0)
        super().__init__(noise)
        self.physics = physics
        self.image_size = image_size
        self._remembered = Remembered(8)

    def forward(self, x: Tensor) -> Tensor:
        """A x."""
        return self._real(self.physics.A(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        return self._real(self.physics.A_adjoint(y))

    def _real(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.is_complex():
            kind = "a complex tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ParameterError(f"{type(self.physics).__name__} returned {kind}; only real tensors can be used")
        return value

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """`image_size`, or what `A_adjoint` returns for a measurement like y."""
        if self.image_size is not None:
            return y.shape[0], *self.image_size

        def find() -> tuple[int, int, int]:
            _, c, h, w = self.adjoint(torch.zeros(1, *y.shape[1:])).shape
            return c, h, w

        return y.shape[0], *self._remembered.get(tuple(y.shape[1:]), find)

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """By conjugate gradients, in float32."""
        largest = self._remembered.get(("largest", tuple(r.shape[1:])), lambda: largest_eigenvalue(self, r[:1]))
        return solve_gain(self.gram, r, noise_variance, v, largest=largest, double=False)

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior; by one random probe."""
        return probed_error(self, y)

    def from_deepinv(self, measurement: Tensor) -> Tensor:
        """deepinv's measurement of a picture on [0, 1] -> ours, of the same picture on [-1, 1]."""
        return 2.0 * measurement - self._white(measurement)

    def to_deepinv(self, y: Tensor) -> Tensor:
        """Our measurement -> deepinv's."""
        return 0.5 * (y + self._white(y))

    def _white(self, y: Tensor) -> Tensor:
        n, c, h, w = self.image_shape(y)
        return self.forward(torch.ones(n, c, h, w, device=y.device))
