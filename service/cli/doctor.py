"""`pellucid doctor`: does this machine have what it takes?"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import click

from restore.errors import RestoreError
from service import __version__

OK, WARNING, FAILURE = "ok", "warning", "failure"

#: Distributions, and the module by which each is imported.
NEEDED = {
    "torch": "torch",
    "diffusers": "diffusers",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "scipy": "scipy",
    "pillow": "PIL",
    "pyvips": "pyvips",
    "opencv-python": "cv2",
}

#: Distributions that install the same module: whichever came last has overwritten the other.
RIVALS = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("opencv-python", "opencv-python-headless"),
    ("opencv-python", "opencv-contrib-python"),
    ("pillow", "pillow-simd"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: OK, WARNING or FAILURE.
        subject: what was looked at.
        detail: what was found and, where something is wrong, what to do.
    """

    state: str
    subject: str
    detail: str


Check = Callable[[], Iterator[Finding]]


@click.command()
@click.option("--device", default="auto", show_default=True, help="Where the test picture is restored.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of findings.")
def doctor(device: str, as_json: bool) -> None:
    """Check versions, processor, devices, priors, folders and a server's settings, and restore a small test picture.

    Ends with 3 when something must be mended before pictures can be restored.
    """
    findings: list[Finding] = []
    checks: tuple[Check, ...] = (
        versions,
        conflicts,
        shadows,
        processor,
        devices,
        priors,
        lambda: runtimes(device),
        lambda: trial(device),
        folders,
        server,
    )
    for check in checks:
        for finding in _guarded(check):
            findings.append(finding)
            if not as_json:
                click.echo(f"{finding.state:<8} {finding.subject:<15} {finding.detail}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    sys.exit(3 if any(finding.state == FAILURE for finding in findings) else 0)


def _guarded(check: Check) -> Iterator[Finding]:
    """A check that breaks is a finding too."""
    try:
        yield from check()
    except Exception as error:
        name = getattr(check, "__name__", "check").replace("<lambda>", "restoring")
        yield Finding(FAILURE, name, f"{type(error).__name__}: {' '.join(str(error).split())}")


def versions() -> Iterator[Finding]:
    """Of Python, this program and what it needs; each must really be importable."""
    from importlib import metadata

    yield Finding(OK, "pellucid", __version__)
    yield Finding(OK, "python", f"{platform.python_version()} on {platform.platform()}")
    for distribution, module in NEEDED.items():
        try:
            version = getattr(import_module(module), "__version__", None) or metadata.version(distribution)
        except (ImportError, OSError, metadata.PackageNotFoundError) as error:
            advice = "pip install --force-reinstall pellucid"
            if distribution == "opencv-python" and "lib" in str(error):
                advice = "it needs system libraries (Debian, Ubuntu: apt install libgl1 libglib2.0-0)"
            yield Finding(FAILURE, distribution, f"cannot be imported ({error}); {advice}")
        else:
            extra = ""
            if module == "pyvips":
                pyvips = import_module("pyvips")
                extra = f", libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}"
            yield Finding(OK, distribution, f"{version}{extra}")


def conflicts() -> Iterator[Finding]:
    """Two distributions that install one module."""
    for first, second in RIVALS:
        if _has(first) and _has(second):
            yield Finding(
                WARNING,
                "conflict",
                f"{first} and {second} install the same module; uninstall both, then install the one you want",
            )


def _has(distribution: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def shadows() -> Iterator[Finding]:
    """Our packages have plain names: another one earlier on the path would be taken for ours."""
    root = Path(__file__).resolve().parents[2]
    for name in ("restore", "models", "service"):
        found = getattr(import_module(name), "__file__", None)
        if found is None or Path(found).resolve().parents[1] != root:
            yield Finding(FAILURE, name, f"is {found}, not this program's in {root}; run from another folder")


def processor() -> Iterator[Finding]:
    """Cores this process may use, and the instructions that make bfloat16 fast."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    features = []
    for label, probe in (
        ("AVX2", "_is_avx2_supported"),
        ("AVX-512", "_is_avx512_supported"),
        ("AVX512-BF16", "_is_avx512_bf16_supported"),
        ("AMX", "_is_amx_tile_supported"),
    ):
        try:
            if getattr(torch.cpu, probe)():
                features.append(label)
        except (AttributeError, RuntimeError):
            continue
    instructions = " ".join(features) or "no vector extensions"
    threads = torch.get_num_threads()
    yield Finding(OK, "processor", f"{_model()}, cores: {cores}, threads: {threads}, {instructions}")
    memory = _memory()
    if memory is not None:
        state = OK if memory >= 2.0 else WARNING
        yield Finding(state, "memory", f"{memory:.1f} GiB{'' if state == OK else '; large photographs need 3 GiB'}")


def _model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def devices() -> Iterator[Finding]:
    """CUDA devices."""
    import torch

    if not torch.cuda.is_available():
        yield Finding(OK, "devices", "cpu; no CUDA device")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        yield Finding(
            OK,
            f"cuda:{index}",
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, capability {capability}",
        )


def priors() -> Iterator[Finding]:
    """Every installed prior against its registered digest."""
    from service.cli.priors import check, installed

    rows = installed()
    if not rows:
        yield Finding(FAILURE, "priors", "none is installed; reinstall pellucid")
    for row in rows:
        outcome = check(row["name"])
        if outcome["error"]:
            yield Finding(FAILURE, f"prior {row['name']}", outcome["error"])
        else:
            yield Finding(OK, f"prior {row['name']}", f"verified, {outcome['digest'] or 'no digest'}")


def runtimes(device: str) -> Iterator[Finding]:
    """What runs the default prior here."""
    from service.cli.runtimes import fastest

    try:
        chosen, place = fastest(device)
    except RestoreError as error:
        yield Finding(FAILURE, "runtime", str(error))
        return
    if chosen is None:
        advice = "torch; pellucid models bench finds out in a minute whether another one is faster"
        yield Finding(OK, "runtime", f"{place}: {advice}")
    else:
        yield Finding(OK, "runtime", f"{place}: {chosen}, measured here")


def trial(device: str) -> Iterator[Finding]:
    """Denoise a picture of smooth waves: the noise must become less."""
    import torch

    from restore import Restorer

    try:
        restorer = Restorer.from_pretrained(device=device)
    except RestoreError as error:
        yield Finding(FAILURE, "restoring", str(error))
        return
    ramp = torch.linspace(0.0, 1.0, 256)
    waves = torch.stack([0.5 + 0.3 * torch.sin(6.0 * (ramp[:, None] + (k + 1) * ramp[None, :])) for k in range(3)])[
        None
    ]
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    given = (waves + 25.0 / 255.0 * noise).clamp(0.0, 1.0)
    restorer.restore(given, "denoise", noise=25.0)  # the first call also prepares the device
    start = time.perf_counter()
    result = restorer.restore(given, "denoise", noise=25.0)
    seconds = time.perf_counter() - start
    before = (given - waves).square().mean().sqrt() * 255.0
    after = ((result.tensor.cpu() + 1.0) / 2.0 - waves).square().mean().sqrt() * 255.0
    state = OK if after < 0.5 * before else FAILURE
    yield Finding(
        state,
        "restoring",
        f"256x256 denoised in {1000.0 * seconds:.0f} ms, error {before:.1f} -> {after:.1f} (0-255)"
        + ("" if state == OK else "; the prior does not do its work: pellucid models verify"),
    )


def folders() -> Iterator[Finding]:
    """Where results and temporary files go."""
    for subject, folder in (("this folder", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(WARNING, subject, f"{folder} cannot be written ({error.strerror}); name OUT elsewhere")
        else:
            yield Finding(OK, subject, f"{folder} can be written")


def server() -> Iterator[Finding]:
    """What a server here would find, as the environment's settings describe it."""
    from service.cli import doctor_server

    for state, subject, detail in doctor_server.server():
        yield Finding(state, subject, detail)
