"""A network as a `Denoiser`, run by PyTorch, and the facts of the embedded prior's network."""

from __future__ import annotations

import math
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from models.unet import DenoisingUNet
from restore.errors import RuntimeUnavailableError
from restore.prior.padding import reflect_pad
from restore.prior.protocol import ErrorTable, PriorInfo

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
#: What reduced precisions are computed in.
REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}

#: Below this noise level the answer is the input to within 1/30 of an 8-bit step; log(0) must not be asked for.
SMALLEST_SIGMA = 1e-4


def bf16_in_hardware(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster than in float32 on a device, rather than emulated.

    On x86 that takes AVX512-BF16 or AMX; where PyTorch cannot tell, the answer is no.
    """
    if device.type == "cuda":
        # Tensor cores have known bfloat16 since compute capability 8.0 (Ampere); before, it is emulated.
        return torch.cuda.is_bf16_supported() and torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return _probed("_is_amx_tile_supported") or _probed("_is_avx512_bf16_supported")


def _probed(probe: str) -> bool:
    try:
        return bool(getattr(torch.cpu, probe)())
    except (AttributeError, RuntimeError):
        return False


def receptive_field(network: DenoisingUNet) -> int:
    """Pixels across that one value of the answer can depend on.

    Each 3x3 convolution reaches one cell of its resolution level to every side; reading the grid of the coarsest
    level can add one of its cells.
    """
    stride = network.patch
    reach = 2 * stride
    for level, stage in enumerate(network.down):
        convolutions = 2 * (len(stage) + len(network.up[level]))  # type: ignore[arg-type]
        if level == len(network.down) - 1:
            convolutions += 2 * len(network.bottom)
        reach += convolutions * stride
        stride *= 2
    return 2 * (reach + network.multiple_of - 1) + 1


def network_info(
    network: DenoisingUNet, name: str, error_table: ErrorTable | None = None, digest: str = ""
) -> PriorInfo:
    """The facts that follow from a network's configuration."""
    config = network.config
    return PriorInfo(
        name,
        channels=3,
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        multiple_of=network.multiple_of,
        receptive_field=receptive_field(network),
        differentiable=True,
        sigma_data=config.sigma_data,
        error_table=error_table,
        digest=digest,
    )


def _exact_convolutions(wanted: bool) -> AbstractContextManager[None]:
    """Convolutions on CUDA devices in IEEE float32: PyTorch rounds their inputs to TensorFloat-32, which has no more
    bits than float16, unless told otherwise.

    Args:
        wanted: False changes nothing.
    """
    if not wanted:
        return nullcontext()
    now = torch.backends.cudnn
    return now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False)


def clipped(answer: Tensor) -> Tensor:
    """A new tensor in [-1, 1]. Clipping would hide an overflow: infinity becomes NaN."""
    # On a CPU to ask costs less than two copies of the picture; on other devices it would wait for the answer. Not by
    # PyTorch, whose threads go on spinning for milliseconds in the way of those of OpenVINO and ONNX Runtime.
    if answer.device.type == "cpu" and answer.dtype == torch.float32 and not answer.requires_grad:
        values = answer.numpy()
        if np.isfinite(values.max()) and np.isfinite(values.min()):
            return torch.from_numpy(np.clip(values, -1.0, 1.0))
    return answer.nan_to_num(math.nan, math.nan, math.nan).clamp(-1.0, 1.0)


class TorchDenoiser:
    """A network as a `Denoiser`: float32 in and out, static clipping of the estimate to [-1, 1].

    Pictures may lie on any device; they are moved to the network's and the answer back. Sizes that are no multiple of
    `info.multiple_of` are padded by reflection. The graph back to x is kept when x asks for it.

    bfloat16 costs less than 0.01 dB of PSNR against float32 from sigma 1 to 128 on the 0-255 scale (worst:
    0.009 at 128, 0.006 at 2), measured on eight 256x256 crops of photographs with an early network.

    Args:
        network: any module that answers `forward(x [N, C, H, W], sigma [N])` with the denoised pictures; taken over:
            moved to the device, frozen, and its convolutions stored in the precision used.
        info: its facts, see `network_info`.
        device: where it runs.
        precision: "fp32", "bf16" or "fp16" (autocast; fp16 on CUDA devices only), or "auto": bf16 where the hardware
            has it.

    Raises:
        RuntimeUnavailableError: no such precision, or no such device here.
    """

    runtime = "torch"

    def __init__(
        self, network: nn.Module, info: PriorInfo, device: torch.device | str = "cpu", precision: str = "auto"
    ) -> None:
        if precision not in PRECISIONS:
            raise RuntimeUnavailableError(f"no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
        self.device = torch.device(device)
        if precision == "auto":
            precision = "bf16" if bf16_in_hardware(self.device) else "fp32"
        if precision == "fp16" and self.device.type != "cuda":
            raise RuntimeUnavailableError(f"fp16 is slower than fp32 on {self.device}; choose fp32, bf16 or auto")
        self.precision = precision
        self._reduced = REDUCED.get(precision)
        try:
            nn.Module.to(network, self.device, torch.float32)
        except (RuntimeError, AssertionError) as error:
            raise RuntimeUnavailableError(f"cannot use the device {self.device}: {error}") from error
        if self._reduced is not None:
            # Autocast would round these weights anew in every call; the noise embedding stays in float32.
            for part in network.modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                    part.to(self._reduced)
        nn.Module.to(network, memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)
        self._info = replace(info, runtime=f"{self.runtime}:{precision}")

    @property
    def info(self) -> PriorInfo:
        return self._info

    @property
    def weight_bytes(self) -> int:
        """Bytes that the weights take on the device."""
        tensors = (*self._network.parameters(), *self._network.buffers())
        return sum(value.numel() * value.element_size() for value in tensors)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, 3, H, W] float32 in [-1, 1] plus noise, sigma [N] float32; returns a tensor like x."""
        height, width = x.shape[2:]
        multiple = self._info.multiple_of
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            padded = reflect_pad(x.float(), -(-height // multiple) * multiple, -(-width // multiple) * multiple)
            padded = padded.to(self.device).contiguous(memory_format=torch.channels_last)
            levels = sigma.to(self.device, torch.float32).clamp(min=SMALLEST_SIGMA)
            with (
                _exact_convolutions(self.precision == "fp32" and self.device.type == "cuda"),
                torch.autocast(self.device.type, self._reduced or torch.bfloat16, enabled=self._reduced is not None),
            ):
                answer: Tensor = self._network(padded, levels)
            # Clipping would hide an overflow: infinity is passed on as NaN.
            answer = clipped(answer[:, :, :height, :width])
            return answer.to(x.device, x.dtype).contiguous()
