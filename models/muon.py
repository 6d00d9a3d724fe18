"""Muon: momentum whose update is orthogonalised, for the matrices of a network.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the scale of the update follows
Liu et al. 2025, "Muon is scalable for LLM training" (arXiv 2502.16982), eq. 4, so that one learning rate serves
both this and AdamW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from models.denoiser import bf16_in_hardware

# Coefficients of the quintic Newton-Schulz iteration, Jordan et al. 2024.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Replace the singular values of each matrix [B, rows, columns] by values near one, in bfloat16 where the hardware
    computes in it."""
    x: Tensor = matrices.bfloat16() if bf16_in_hardware(matrices.device) else matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised per weight matrix; a convolution counts as [out, in * kh * kw].

    Args:
        params: weights of two or more dimensions.
        lr: learning rate, on AdamW's scale.
        momentum: decay of the running gradient.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            momentum, lr = group["momentum"], group["lr"]
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1.0 - momentum)
                update = p.grad.lerp(buffer, momentum)
                by_shape[(p.shape[0], p[0].numel())].append((p, update))
            for (rows, columns), pairs in by_shape.items():
                stacked = torch.stack([update.reshape(rows, columns) for _, update in pairs])
                directions = orthogonalise(stacked)
                scale = 0.2 * max(rows, columns) ** 0.5
                for (p, _), direction in zip(pairs, directions, strict=True):
                    p.mul_(1.0 - lr * group["weight_decay"])
                    p.add_(direction.reshape(p.shape).to(p.dtype), alpha=-lr * scale)
