"""What the benchmarks share: arguments, pictures, the prior, restoring a tensor, reports with their circumstances."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.prior import Denoiser, PriorInfo
from restore.sampling.driver import run
from restore.sampling.protocol import Problem, RowNoise
from restore.tasks import TASKS
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "pellucid",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "diffusers",
    "numpy",
    "opencv-python",
    "pillow",
    "scipy",
    "deepinv",
    "bm3d",
)
#: What decides how fast these cores convolve in reduced precision.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark knows."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    datasets = os.environ.get("PELLUCID_DATASETS")
    parser.add_argument("--data", type=Path, default=datasets, help="folder with test/ and metrics/")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    parser.add_argument("--prior", help="name of an installed prior; the embedded one by default")
    parser.add_argument("--weights", type=Path, help="folder with the embedded prior's network, instead of --prior")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--images", type=int, help="use only so many pictures of each set (a rehearsal)")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse, and refuse to start without data."""
    options = parser.parse_args(argv)
    if options.data is None or not options.data.is_dir():
        parser.error(f"no test data at {options.data}: give --data or set PELLUCID_DATASETS")
    return options


def open_prior(options: argparse.Namespace, runtime: str = "auto") -> Denoiser:
    """The prior under test, for pictures of any size."""
    from models.registry import WEIGHTS_FILE, file_sha256, load_denoiser, load_folder

    if options.weights is None:
        return load_denoiser(options.prior, device=options.device, runtime=runtime)
    digest = f"sha256:{file_sha256(options.weights / WEIGHTS_FILE)}"
    return load_folder(options.weights, device=options.device, runtime=runtime, digest=digest)


def open_loaded(options: argparse.Namespace) -> Any:
    """The prior under test as its network and facts (`models.loaders.loaded.Loaded`)."""
    from models.registry import WEIGHTS_FILE, file_sha256, open_folder
    from models.registry import open_prior as installed

    if options.weights is None:
        return installed(options.prior)
    loaded = open_folder(options.weights)
    digest = f"sha256:{file_sha256(options.weights / WEIGHTS_FILE)}"
    return replace(loaded, info=replace(loaded.info, digest=digest))


def read(path: Path) -> Tensor:
    """[1, 3, H, W] in [-1, 1]."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0


def pictures(folder: Path, limit: int | None = None) -> list[tuple[str, Tensor]]:
    """Name and picture of every PNG file of a folder, in the order of their names."""
    files = sorted(folder.glob("*.png"))[:limit]
    if not files:
        raise SystemExit(f"no PNG files in {folder}")
    return [(path.stem, read(path)) for path in files]


def centre(x: Tensor, size: int, multiple: int = 1) -> Tensor:
    """The middle of a picture: at most `size` pixels on a side, and a multiple of `multiple`."""
    height, width = (min(side, size) // multiple * multiple for side in x.shape[-2:])
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width].contiguous()


def noise_for(name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal noise that depends on the picture's name only."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def restore_tensor(denoiser: Denoiser, y: Tensor, task: str, **parameters: Any) -> Tensor:
    """What `Restorer.restore` does, for a measurement in [-1, 1] that no file could hold (not clipped, not rounded).

    Returns [1, 3, H, W], neither clipped nor rounded.
    """
    settings = Parameters(**parameters)
    plan = TASKS[task](Source(y), settings, denoiser.info)
    problem = Problem(plan.y, plan.degradation, denoiser.info, RowNoise(settings.seed, [0]))
    return plan.finish(run(plan.sampler(problem), denoiser))


class Timed:
    """A denoiser that counts its calls and the seconds spent in them."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self.calls, self.seconds = denoiser, 0, 0.0

    @property
    def info(self) -> PriorInfo:
        """The wrapped denoiser's facts."""
        return self._denoiser.info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise."""
        start = clock()
        answer = self._denoiser(x, sigma)
        self.seconds += clock() - start
        self.calls += 1
        return answer


def clock() -> float:
    """Seconds, once the accelerator has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def machine() -> dict[str, Any]:
    """The processor, its cores and reduced-precision units, and the memory."""
    facts: dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        text = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in text.items()}
        facts["cpu"] = entries.get("model name", facts["cpu"])
        present = set(entries.get("flags", "").split())
        facts["flags"] = [flag for flag in CPU_FLAGS if flag in present]
    if (meminfo := Path("/proc/meminfo")).exists():
        facts["memory_gib"] = round(int(meminfo.read_text().split()[1]) / 2**20, 1)
    if torch.cuda.is_available():
        facts["gpu"] = (
            f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    return facts


def circumstances(denoiser: Denoiser | None) -> dict[str, Any]:
    """Everything a number depends on besides the script: machine, versions, revision, prior, date, command."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        # Without the folders of the machine it ran on.
        "command": " ".join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv),
        "revision": _revision(),
        "machine": machine(),
        "packages": {"python": platform.python_version(), **packages},
    }
    if denoiser is not None:
        facts["prior"] = {"name": denoiser.info.name, "digest": denoiser.info.digest}
    return facts


def _revision() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


@dataclass
class Table:
    """A table of a report; numbers are printed with `digits` decimals."""

    title: str
    columns: Sequence[str]
    digits: int = 2
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """Append a row; None prints as a dash."""
        if len(cells) != len(self.columns):
            raise ValueError(f"a row of {len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(list(cells))

    def markdown(self) -> str:
        """The table under its title."""
        lines = ["| " + " | ".join(self.columns) + " |", "|" + "|".join("---" for _ in self.columns) + "|"]
        lines += ["| " + " | ".join(self._cell(cell) for cell in row) + " |" for row in self.rows]
        return f"## {self.title}\n\n" + "\n".join(lines)

    def _cell(self, value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value)


def report(
    out: Path, name: str, title: str, tables: Sequence[Table], notes: Sequence[str], facts: dict[str, Any]
) -> None:
    """Print the tables as markdown and store them as NAME.md and NAME.json."""
    notes = list(notes)
    lines = [f"# {title}", *(table.markdown() for table in tables)]
    if notes:
        lines.append("\n".join(f"- {note}" for note in notes))
    lines.append(_told(facts))
    text = "\n\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    stored = {
        "title": title,
        "tables": [{"title": t.title, "columns": list(t.columns), "rows": t.rows} for t in tables],
        "notes": notes,
        **facts,
    }
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.json").write_text(json.dumps(stored, indent=2) + "\n")
    print(text)


def report_part(
    out: Path, name: str, title: str, part: str, tables: Sequence[Table], notes: Sequence[str], facts: dict[str, Any]
) -> None:
    """Print one part of a benchmark whose parts run on their own, and store it beside the others.

    NAME.json holds what each part measured last, with its circumstances; NAME.md is made of it.
    """
    path = out / f"{name}.json"
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"title": title, "parts": {}}
    stored["parts"][part] = {
        "tables": [{"title": t.title, "columns": list(t.columns), "rows": t.rows, "digits": t.digits} for t in tables],
        "notes": list(notes),
        **facts,
    }
    lines = [f"# {title}", "The parts were measured one by one, each with the same script, as stated below each."]
    for found in stored["parts"].values():
        lines += [Table(t["title"], t["columns"], t["digits"], t["rows"]).markdown() for t in found["tables"]]
        lines.append("\n".join(f"- {note}" for note in [*found["notes"], _told(found)]))
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=2) + "\n")
    (out / f"{name}.md").write_text("\n\n".join(lines) + "\n")
    print("\n\n".join(table.markdown() for table in tables))


def _told(facts: dict[str, Any]) -> str:
    """The circumstances in one line."""
    where, prior = facts["machine"], facts.get("prior", {"name": "none", "digest": ""})
    return (
        f"{facts['date']}, revision {facts['revision']}, prior {prior['name']} {prior['digest'][:19]}, "
        f"{where['cpu']}, {where['cores']} cores ({', '.join(where.get('flags', [])) or 'no flags known'}), "
        + (f"{where['gpu']}, " if "gpu" in where else "")
        + f"{where.get('memory_gib', '?')} GiB, {where['threads']} threads, load average {where['load']}; "
        + ", ".join(f"{package} {number}" for package, number in facts["packages"].items())
        + f"; `{facts['command']}`"
    )


class Ledger:
    """Finished measurements of a run, one JSON line each, so that an interrupted benchmark goes on where it stopped.

    Args:
        path: the file; measurements made under another `context` are forgotten.
        context: everything that the measurements depend on besides their key.
    """

    def __init__(self, path: Path, context: dict[str, Any]) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        header = json.dumps({"context": context}, sort_keys=True)
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and lines[0] == header:
            for line in lines[1:]:
                # The last line may be half-written when the run was stopped.
                with suppress(json.JSONDecodeError):
                    key, value = json.loads(line)
                    self._values[key] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *(json.dumps(item) for item in self._values.items())]) + "\n")

    def get(self, *key: Any) -> Any:
        """The measurement stored under this key, or None."""
        return self._values.get(json.dumps(key))

    def put(self, value: Any, *key: Any) -> None:
        """Store a measurement at once."""
        self._values[json.dumps(key)] = value
        with self._path.open("a") as stream:
            stream.write(json.dumps([json.dumps(key), value]) + "\n")

    def close(self) -> None:
        """Forget everything: the benchmark is complete."""
        self._path.unlink(missing_ok=True)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)
