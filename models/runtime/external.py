"""What denoisers outside PyTorch share: sizes, types and devices of a call, facts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from models.denoiser import clipped
from restore.prior.padding import reflect_pad
from restore.prior.protocol import PriorInfo


class ExternalDenoiser(ABC):
    """A `Denoiser` whose exported network (`models.export.graph.Whole`) is run by another library.

    float32 in and out. Pictures may lie on any device. Sizes that are no multiple of `info.multiple_of` are padded by
    reflection. No gradients.

    Args:
        info: facts of the network.
        runtime: its name, one of `models.runtime.RUNTIMES`.
        precision: what it computes in.
        device: where its inputs must lie.
    """

    def __init__(self, info: PriorInfo, runtime: str, precision: str, device: torch.device) -> None:
        self.runtime, self.precision, self.device = runtime, precision, device
        # Requests and contexts of these libraries take one call at a time.
        self._lock = threading.Lock()
        self._info = replace(info, differentiable=False, runtime=f"{runtime}:{precision}")

    @property
    def info(self) -> PriorInfo:
        return self._info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, 3, H, W] float32 in [-1, 1] plus noise, sigma [N] float32; returns a tensor like x."""
        height, width = x.shape[2:]
        multiple = self._info.multiple_of
        padded = reflect_pad(x.detach().float(), -(-height // multiple) * multiple, -(-width // multiple) * multiple)
        padded = padded.to(self.device).contiguous()
        levels = sigma.detach().to(self.device, torch.float32).contiguous()
        with self._lock:
            answer = clipped(self._infer(padded, levels)[:, :, :height, :width])
        return answer.to(x.device, x.dtype).contiguous()

    @abstractmethod
    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The network's answer to contiguous float32 tensors on `device`; the next call may overwrite it."""
