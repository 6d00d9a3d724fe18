"""Two denoisers of one network: a coarse one where the noise hides its error, an exact one below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from restore.prior.protocol import Denoiser, PriorInfo


class GradedDenoiser:
    """Answers each row by its own noise level.

    Args:
        coarse: from `safe_from` on.
        exact: below; made when it is first needed.
        safe_from: noise level, 0-255 scale.
        runtime: how it is called.
        precision: of the coarse one and of the exact one, such as "int8+bf16".
    """

    def __init__(
        self, coarse: Denoiser, exact: Callable[[], Denoiser], safe_from: float, runtime: str, precision: str
    ) -> None:
        self._coarse, self._make_exact, self.safe_from = coarse, exact, safe_from
        self.runtime, self.precision = runtime, precision
        self._info = replace(coarse.info, differentiable=False, runtime=f"{runtime}:{precision}")

    @cached_property
    def _exact(self) -> Denoiser:
        return self._make_exact()

    @property
    def info(self) -> PriorInfo:
        return self._info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, 3, H, W] float32 in [-1, 1] plus noise, sigma [N] float32; returns a tensor like x."""
        # A level that was computed is not lost to the last bit of a float.
        coarse = sigma * 127.5 >= self.safe_from * (1.0 - 1e-5)
        if bool(coarse.all()):
            return self._coarse(x, sigma)
        if not bool(coarse.any()):
            return self._exact(x, sigma)
        answer = torch.empty_like(x)
        for rows, denoiser in ((coarse, self._coarse), (~coarse, self._exact)):
            answer[rows.to(x.device)] = denoiser(x[rows.to(x.device)], sigma[rows])
        return answer
