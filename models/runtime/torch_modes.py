"""PyTorch beyond eager: compiled, and recorded as CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.denoiser import TorchDenoiser
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

#: Graphs kept by one denoiser: a service sees few tile shapes, and each graph holds its own activations.
GRAPHS = 8
#: Sizes and batches that a network is compiled for.
SIZES = 64


class CompiledDenoiser(TorchDenoiser):
    """A network under `torch.compile`: no gradients, and every new size or batch costs a compilation.

    See `TorchDenoiser`.

    Raises:
        RuntimeUnavailableError: nothing can be compiled here; a C++ compiler is needed on a CPU, Triton on CUDA.
    """

    runtime = "torch-compile"

    def __init__(
        self, network: nn.Module, info: PriorInfo, device: torch.device | str = "cpu", precision: str = "auto"
    ) -> None:
        super().__init__(network, info, device, precision)
        self._info = replace(self._info, differentiable=False)
        options: dict[str, Any] = {"freezing": True} if self.device.type == "cpu" else {}
        # Past the limit PyTorch would go on eagerly without a word; of a whole graph it says that the limit is reached.
        torch._dynamo.config.recompile_limit = max(SIZES, torch._dynamo.config.recompile_limit)
        self._network = torch.compile(self._network, fullgraph=True, dynamic=False, options=options)  # type: ignore[assignment]
        side = info.native_size or info.multiple_of * 4
        try:
            self(torch.zeros(1, info.channels, side, side), torch.ones(1))
        except Exception as error:  # the compiler's exceptions have no common base
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RuntimeUnavailableError(f"torch.compile cannot be used here: {reason}") from error

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        # A frozen program has constants instead of weights: it must not be recorded for gradients.
        with torch.no_grad():
            return super().__call__(x.detach(), sigma)


class GraphedDenoiser(TorchDenoiser):
    """A network recorded as CUDA graphs, one for each size and batch: no time is spent launching its kernels.

    See `TorchDenoiser`. Not to be called by two threads at once.

    Raises:
        RuntimeUnavailableError: the device is no CUDA device.
    """

    runtime = "torch-cudagraphs"

    def __init__(
        self, network: nn.Module, info: PriorInfo, device: torch.device | str = "cuda", precision: str = "auto"
    ) -> None:
        if torch.device(device).type != "cuda":
            raise RuntimeUnavailableError(f"CUDA graphs need a CUDA device, not {device}")
        super().__init__(network, info, device, precision)
        self._info = replace(self._info, differentiable=False)
        self._eager, self._graphs = self._network, dict[tuple[int, ...], _Recorded]()
        self._network = self._replayed  # type: ignore[assignment]

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        with torch.no_grad():
            return super().__call__(x.detach(), sigma)

    def _replayed(self, x: Tensor, sigma: Tensor) -> Tensor:
        shape = tuple(x.shape)
        if shape not in self._graphs:
            if len(self._graphs) == GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[shape] = _Recorded(self._eager, x, sigma)
        return self._graphs[shape](x, sigma)


class _Recorded:
    """One CUDA graph and the memory of its inputs and output."""

    def __init__(self, network: nn.Module, x: Tensor, sigma: Tensor) -> None:
        self._x, self._sigma = x.clone(), sigma.clone()
        side = torch.cuda.Stream(x.device)
        side.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose their kernels and take their memory before the recording
                network(self._x, self._sigma)
        torch.cuda.current_stream(x.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # A cast that autocast keeps for later calls would lie in the memory of this graph.
        with torch.cuda.graph(self._graph), torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"),
                                                           dtype=torch.get_autocast_dtype("cuda"),
                                                           cache_enabled=False):  # fmt: skip
            self._answer = network(self._x, self._sigma)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._x.copy_(x)
        self._sigma.copy_(sigma)
        self._graph.replay()
        answer: Tensor = self._answer.clone()
        return answer
