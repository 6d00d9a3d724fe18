"""Loading, converting and calling the full 256x256_diffusion_uncond layout: seconds and peak memory on this machine.

    python benchmarks/large_prior.py

The weights are random (the published file was not at hand): 552,814,086 parameters with a learned variance, in the
published file's layout of names, shapes and float32, 2.2 GB. Each step runs in a process of its own, whose peak
resident memory is what the operating system reports (it counts pages of the mapped file). Takes some minutes, 7 GB of
disk and 7 GB of memory. Results: results/large_prior.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PARAMETERS = 552_814_086
FILE, FOLDER = "256x256_diffusion_uncond.pt", "converted"


def make(folder: Path) -> dict[str, Any]:
    """Write the checkpoint with random weights."""
    import torch

    from models.guided_unet import GuidedUNet, GuidedUNetConfig

    generator = torch.Generator().manual_seed(0)
    wide = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)
    with torch.device("meta"):
        network = GuidedUNet(GuidedUNetConfig(256, wide, 2, (False, False, False, True, True, True)))
    flat, state = ("qkv.weight", "proj_out.weight"), {}
    for name, value in network.state_dict().items():
        shape = value.shape[:-1] if name.endswith(flat) else value.shape
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 1.0
        state[name] = torch.empty(shape).uniform_(-scale, scale, generator=generator)
    torch.save(state, folder / FILE)
    return {"bytes": (folder / FILE).stat().st_size}


def call(path: Path) -> dict[str, Any]:
    """Load a checkpoint and denoise one picture of 256x256 pixels."""
    import torch

    from models.loaders import load
    from models.registry import tiled

    start = time.perf_counter()
    loaded = load(path)
    seconds = {"load": time.perf_counter() - start}
    assert loaded.parameters == PARAMETERS and loaded.info.native_size == 256
    read = _peak()
    prior = tiled(loaded, device=torch.device("cpu"), runtime="torch", precision="fp32")
    x = torch.rand(1, 3, 256, 256) * 2 - 1 + 0.2 * torch.randn(1, 3, 256, 256)
    start = time.perf_counter()
    with torch.no_grad():
        answer = prior(x, torch.tensor([0.2]))
    seconds["call"] = time.perf_counter() - start
    assert answer.shape == x.shape and bool(torch.isfinite(answer).all())
    return {"parameters": loaded.parameters, "seconds": seconds, "peak_after_load": read, "found": loaded.found}


def convert(folder: Path) -> dict[str, Any]:
    """Convert the checkpoint to configuration and safetensors."""
    from models.loaders import load
    from models.loaders.converted import save

    start = time.perf_counter()
    save(load(folder / FILE), folder / FOLDER)
    return {"seconds": {"convert": time.perf_counter() - start}}


def _peak() -> int:
    """Peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


STEPS = {
    "make": make,
    "call": lambda folder: call(folder / FILE),
    "convert": convert,
    "call converted": lambda folder: call(folder / FOLDER),
}


def measure(step: str, folder: Path) -> dict[str, Any]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    rows = ["| step | seconds | peak memory |", "|---|---|---|"]
    for step in ("call", "convert", "call converted"):
        found = results["steps"][step]
        seconds = ", ".join(f"{name} {value:.1f}" for name, value in found["seconds"].items())
        rows.append(f"| {step} | {seconds} | {found['peak'] / 2**30:.2f} GiB |")
    machine = results["machine"]
    shared = " Others used the machine: the seconds are upper bounds." if machine["load"] > machine["cores"] else ""
    return f"""\
# The full 256x256_diffusion_uncond layout

{PARAMETERS:,} parameters, learned variance, random weights in the published layout (the published file was not at
hand), float32, {results["steps"]["make"]["bytes"] / 1e9:.2f} GB; one call is one picture of 256x256 pixels. Each step
in a process of its own; the peak counts pages of the mapped file.{shared}

{chr(10).join(rows)}

{machine["processor"]}, {machine["cores"]} cores, load average {machine["load"]:.1f} at the start; PyTorch
{machine["torch"]}, Python {machine["python"]}; {results["date"]}. Made by `python benchmarks/large_prior.py`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the files lie, and stay; a temporary one when not given")
    given = parser.parse_args()
    if given.step:
        found = STEPS[given.step](given.folder)
        print(json.dumps(found | {"peak": _peak()}))
        return
    from importlib.metadata import version

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        made = {"bytes": (folder / FILE).stat().st_size} if (folder / FILE).is_file() else measure("make", folder)
        steps = {"make": made, **{step: measure(step, folder) for step in list(STEPS)[1:]}}
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": processor, "cores": os.cpu_count(), "load": load, "torch": version("torch"),
            "python": platform.python_version(),
        },
        "steps": steps,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "large_prior.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "large_prior.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
