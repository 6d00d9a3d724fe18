"""Which runtime is the fastest that answers as PyTorch does: measured once on a machine, then remembered."""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from models.dead_leaves import dead_leaves
from models.denoiser import TorchDenoiser, bf16_in_hardware
from models.parity import TOLERANCES, compare, sample_batches
from models.runtime import building, cache
from models.runtime.names import Choice
from restore.errors import PriorError, RuntimeUnavailableError
from restore.prior.protocol import Denoiser, PriorInfo

#: Side of the measured picture where a network takes any: large enough for all cores, small enough to be quick.
SIDE = 256
#: Noise levels of the comparison (0-255 scale): all that an export is checked at would take most of the time.
COMPARED = (2.0, 15.0, 25.0, 100.0)
#: Seconds between calls: some runtimes' threads go on spinning after a call, at the cost of the next one's.
SETTLED = 0.1
#: A runtime that needs longer to be ready is left to those who ask for it by name: a command would wait each time.
LONGEST_START = 5.0
#: What is tried when nothing else is said, by type of device.
CANDIDATES = {
    "cpu": ("torch:fp32", "torch:bf16", "onnxruntime:fp32", "openvino:fp32", "openvino:bf16"),
    "cuda": (
        "torch:fp32", "torch:bf16", "torch:fp16", "torch-cudagraphs:bf16", "torch-cudagraphs:fp16", "onnxruntime:fp32",
        "onnxruntime:fp16", "tensorrt:fp16",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One runtime.

    Attributes:
        choice: NAME:PRECISION.
        seconds: of one call, the median; None when it cannot be used.
        processor: seconds of all cores in it, the median: what others on the machine hardly change.
        speedup: times as fast as torch in float32.
        psnr_lost: the most at any noise level, in dB.
        rms_error: the largest at any noise level, 0-255 scale.
        start: seconds until it is ready, its graph exported before.
        eligible: whether "auto" may take it.
        remark: why it cannot, or why it may not.
    """

    choice: str
    seconds: float | None = None
    processor: float | None = None
    speedup: float | None = None
    psnr_lost: float | None = None
    rms_error: float | None = None
    start: float | None = None
    eligible: bool = False
    remark: str = ""


def measure(
    network: nn.Module,
    info: PriorInfo,
    device: torch.device | str = "cpu",
    candidates: Sequence[str] = (),
    *,
    rounds: int = 7,
    side: int = SIDE,
    on_step: Callable[[str], None] = lambda what: None,
) -> list[Measured]:
    """Try runtimes side by side, the fastest first; torch in float32 is always among them.

    Args:
        network: see `models.runtime.build`; not changed.
        info: its facts.
        device: where they run.
        candidates: NAME:PRECISION each; those of `CANDIDATES` when empty.
        rounds: calls of each, taken in turns so that a busy moment meets all of them.
        side: of the picture in the calls, where the network takes any.
        on_step: told what is being done.

    Raises:
        RuntimeUnavailableError: no such runtime.
    """
    place = torch.device(device)
    reference_name = "torch:fp32"
    names = list(dict.fromkeys([reference_name, *(candidates or _candidates(network, info, place))]))
    choices = {name: Choice.parse(name) for name in names}
    rows, ready = {}, dict[str, Denoiser]()
    reference = _Remembering(TorchDenoiser(copy.deepcopy(network), info, place, "fp32"))
    for name, choice in choices.items():
        on_step(f"preparing {name}")
        try:
            ready[name], rows[name] = _prepare(name, choice, network, info, place, reference)
        except PriorError as error:
            rows[name] = Measured(name, remark=str(error))
    on_step(f"timing {len(ready)} runtimes")
    seconds = _side_by_side(ready, info, side, rounds, place)
    for name, (taken, processor) in seconds.items():
        speedup = seconds[reference_name][0] / taken
        rows[name] = replace(rows[name], seconds=taken, processor=processor, speedup=speedup)
    return sorted(rows.values(), key=lambda row: (row.seconds is None, row.seconds))


def _candidates(network: nn.Module, info: PriorInfo, device: torch.device) -> tuple[str, ...]:
    """What is tried when nothing else is said; int8 where the network was calibrated."""
    quantised = device.type == "cpu" and building.can_quantise(network, info)
    return CANDIDATES[device.type] + (("onnxruntime:int8", "openvino:int8") if quantised else ())


def _prepare(
    name: str, choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device, reference: Denoiser
) -> tuple[Denoiser, Measured]:
    if choice.precision == "bf16" and not bf16_in_hardware(device):
        raise RuntimeUnavailableError(f"{device} has no bfloat16 in hardware")
    building.prepare(choice, network, info, device)
    own = copy.deepcopy(network)
    start = time.perf_counter()
    denoiser = building.build_choice(choice, own, info, device)
    taken = time.perf_counter() - start
    parity = compare(reference, denoiser, sample_batches(denoiser.info), COMPARED)
    # "int8+bf16" is held to what its coarser half is.
    failures = parity.failures(TOLERANCES[denoiser.info.runtime.partition(":")[2].partition("+")[0]])
    remark = ""
    if failures:
        remark = "answers otherwise than torch"
    elif taken > LONGEST_START:
        remark = "slow to start: only when asked for by name"
    return denoiser, Measured(
        name, psnr_lost=parity.psnr_lost, rms_error=parity.rms_error, start=taken, eligible=not remark, remark=remark
    )


class _Remembering:
    """A denoiser that computes the same call once: every runtime is compared with it at the same ones."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self._answers = denoiser, list[tuple[Tensor, Tensor, Tensor]]()

    @property
    def info(self) -> PriorInfo:
        return self._denoiser.info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        for known_x, known_sigma, answer in self._answers:
            if torch.equal(known_x, x) and torch.equal(known_sigma, sigma):
                return answer
        answer = self._denoiser(x, sigma)
        self._answers.append((x, sigma, answer))
        return answer


@torch.no_grad()
def _side_by_side(
    runs: dict[str, Denoiser], info: PriorInfo, side: int, rounds: int, device: torch.device
) -> dict[str, tuple[float, float]]:
    """Median seconds and processor seconds of one call of each."""
    size = info.native_size or -(-side // info.multiple_of) * info.multiple_of
    # On the device, as the calls of a service are.
    x = (dead_leaves(1, size, size) + 0.2 * torch.randn(1, info.channels, size, size)).to(device)
    sigma = torch.full((1,), 0.2, device=device)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            time.sleep(SETTLED)
            seconds = _timed(run, x, sigma)
            if number:  # the first calls choose kernels for this size
                taken[name].append(seconds)
    medians = {}
    for name, values in taken.items():
        wall, processor = zip(*values, strict=True)
        medians[name] = (statistics.median(wall), statistics.median(processor))
    return medians


def _timed(run: Denoiser, x: Tensor, sigma: Tensor) -> tuple[float, float]:
    start, used = time.perf_counter(), time.process_time()
    run(x, sigma)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start, time.process_time() - used


def remember(network: nn.Module, info: PriorInfo, device: torch.device | str, rows: Sequence[Measured]) -> str | None:
    """Keep what was measured in the private folder, for "auto".

    Returns:
        What "auto" is from now on, NAME:PRECISION; None when nothing may be taken.

    Raises:
        RuntimeUnavailableError: the private folder cannot be written.
    """
    eligible = [row for row in rows if row.eligible and row.seconds is not None]
    chosen = min(eligible, key=lambda row: row.seconds or 0.0).choice if eligible else None
    facts = {"prior": info.name, "digest": info.digest, "chosen": chosen, "rows": [asdict(row) for row in rows]}
    path = cache.folder("measurements") / _name(cache.fingerprint(network), device)
    cache.write_json(path, {**facts, **_circumstances(torch.device(device))})
    return chosen


def find(network: nn.Module, info: PriorInfo, device: torch.device | str = "cpu") -> str | None:
    """What "auto" is for a network: what is remembered, or else what is measured now and remembered.

    Processes that ask at the same time wait for the first one: two that measure at once find out how fast half of the
    machine is.

    Args:
        network: see `measure`.
        info: its facts.
        device: where it runs.

    Raises:
        RuntimeUnavailableError: the private folder cannot be written.
    """
    with FileLock(cache.folder("measurements") / "lock"):
        known = remembered(network, device)
        if known is not None:
            return str(known["chosen"])
        return remember(network, info, device, measure(network, info, device))


def remembered(network: nn.Module, device: torch.device | str) -> dict[str, Any] | None:
    """What was measured for a network here: {"chosen", "rows", ...}; None when nothing was, or not with this machine's
    present versions."""
    return remembered_of(cache.fingerprint(network), device)


def remembered_of(mark: str, device: torch.device | str) -> dict[str, Any] | None:
    """`remembered` of the network with a fingerprint."""
    place = cache.existing("measurements")
    found = None if place is None else cache.read_json(place / _name(mark, device))
    if found is None or not isinstance(found.get("chosen"), str):
        return None
    try:
        Choice.parse(found["chosen"])
    except RuntimeUnavailableError:
        return None
    return found


def _name(mark: str, device: torch.device | str) -> str:
    return f"{cache.key(network=mark, **_circumstances(torch.device(device)))}.json"


def _circumstances(device: torch.device) -> dict[str, Any]:
    """What decides the result besides the network."""
    return {"hardware": hardware(device), "versions": cache.versions(*cache.DISTRIBUTIONS)}


def hardware(device: torch.device) -> str:
    """Processor or GPU, in words."""
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        return f"{name}, capability {capability[0]}.{capability[1]}, CUDA {torch.version.cuda}"
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, bf16 {bf16_in_hardware(device)}"
