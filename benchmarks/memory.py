"""Peak memory against the size of the picture: a noisy JPEG denoised from file to file, whole and in strips.

Each size runs in a process of its own. To save time a tiny untrained network may stand in for the prior: it works in
the same tiles, so that what is held of the picture is the same; the tables say which network ran.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import plots
import pyvips

from models.unet import DenoisingUNet

MEGAPIXELS = (1, 2, 4, 8, 16, 32, 64, 100)
EMBEDDED_MEGAPIXELS = (1, 4, 16, 32)
WAYS = {"whole": [], "in strips": ["--file"]}
NOISE = 15.0
#: The tiny network: one level of so many channels, on cells of so many pixels.
TINY, CELL = 16, 8


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--megapixels", type=int, nargs="*", default=MEGAPIXELS, help="with the tiny network")
    parser.add_argument(
        "--embedded", type=int, nargs="*", default=EMBEDDED_MEGAPIXELS, help="with the prior, in strips"
    )
    parser.add_argument("--steps", type=int, default=1, help="calls for every picture: orientations averaged")
    options = common.parse(parser)
    facts = common.circumstances(common.open_prior(options))
    context = {key: facts[key] for key in ("prior", "packages")} | {"steps": options.steps}
    ledger = common.Ledger(options.out / "memory.partial.jsonl", context)
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        DenoisingUNet(channels=(TINY,), blocks=(1,), middle=1, patch=CELL).save_pretrained(tiny)
        plans = [("tiny", way, size) for way in WAYS for size in options.megapixels]
        plans += [("prior", "in strips", size) for size in options.embedded]
        for network, way, size in plans:
            if ledger.get(network, way, size) is None:
                weights = tiny if network == "tiny" else options.weights
                ledger.put(measure(options, weights, way, size, Path(folder)), network, way, size)
            print(network, way, size, ledger.get(network, way, size), flush=True)
    tables = tabulate(options, ledger)
    draw(tables, options.out)
    common.report(
        options.out,
        "memory",
        "Memory against size",
        tables,
        [
            "Peak: the largest resident set (VmHWM) of a process that decodes a 3:2 JPEG with noise 15 (equal in all "
            f"channels), denoises it ({options.steps} call(s) for every pixel, the noise given) and writes a JPEG; "
            "loaded: with the prior, before the picture.",
            f"The tiny network is untrained, one level of {TINY} channels; it works in the prior's tiles, 512 pixels.",
            "In strips: Restorer.restore_file, as the command line does; below 32 megapixels it restores the whole.",
        ],
        facts,
    )
    ledger.close()


def measure(options: Any, weights: Path | None, way: str, megapixels: int, folder: Path) -> dict[str, Any]:
    """One denoising in a process of its own."""
    source = folder / f"{megapixels}.jpg"
    photograph(options.data, megapixels, source)
    return alone(options, weights, "denoise", {"noise": NOISE, "steps": options.steps}, source, WAYS[way])


def alone(
    options: Any, weights: Path | None, task: str, parameters: dict[str, Any], source: Path, way: Sequence[str]
) -> dict[str, Any]:
    """Run one_restoration.py and remove the source."""
    command = [sys.executable, str(Path(__file__).with_name("one_restoration.py")), "--device", options.device]
    if weights is not None:
        command += ["--weights", str(weights)]
    command += ["--task", task, "--parameters", json.dumps(parameters), *way, str(source), str(source) + ".out.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    source.unlink()
    if done.returncode:
        raise SystemExit(f"{task} of {source.name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def photograph(data: Path, megapixels: int, path: Path, smaller: int = 1) -> None:
    """A noisy 3:2 JPEG made of copies of a picture, written without ever holding it; its sides `smaller` times."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5) // smaller
    width = round(megapixels * 1e6 / smaller**2 / height)
    first = sorted((data / "test" / "CBSD68").glob("*.png"))[0]
    tile = pyvips.Image.new_from_file(str(first))
    across, down = -(-width // tile.width), -(-height // tile.height)
    clean = tile.replicate(across, down).crop(0, 0, width, height)
    noise = pyvips.Image.gaussnoise(width, height, mean=0.0, sigma=NOISE, seed=0)
    (clean + noise).rint().cast("uchar").copy(interpretation="srgb").write_to_file(str(path), Q=95)


def tabulate(options: Any, ledger: common.Ledger) -> list[common.Table]:
    """Megapixels against peak memory, by network."""
    columns = ["megapixels", "whole: peak, GiB", "in strips: peak, GiB", "loaded, GiB", "streamed"]
    tiny = common.Table("The tiny network", columns)
    for size in options.megapixels:
        whole, strips = ledger.get("tiny", "whole", size), ledger.get("tiny", "in strips", size)
        tiny.add(size, whole["peak_gib"], strips["peak_gib"], *_shared(strips))
    prior = common.Table("The prior", ["megapixels", "peak, GiB", "loaded, GiB", "streamed"])
    for size in options.embedded:
        found = ledger.get("prior", "in strips", size)
        prior.add(size, found["peak_gib"], *_shared(found))
    return [table for table in (tiny, prior) if table.rows]


def _shared(found: dict[str, Any]) -> list[Any]:
    return [found["loaded_gib"], "yes" if found["streamed"] else "no"]


def draw(tables: list[common.Table], out: Path) -> None:
    """Peak memory over megapixels."""
    with plots.figure(out, "memory") as figure:
        axes = figure.add_subplot()
        for table in tables:
            sizes = [row[0] for row in table.rows]
            for column, name in enumerate(table.columns):
                if "peak" in name:
                    axes.plot(sizes, [row[column] for row in table.rows], "o-", label=f"{table.title}, {name}")
        axes.set(xlabel="megapixels", ylabel="peak memory, GiB", xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
