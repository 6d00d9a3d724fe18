"""Super-resolution x2, x3, x4 of Set5 and CBSD68: PSNR and SSIM on luma, `scale` pixels cropped.

Set5 comes with its MATLAB-bicubic low-resolution files; those of CBSD68 are made by this library's own antialiased
bicubic reduction and rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
from torch import Tensor

from restore.degradations.cubic import bicubic_upsample
from restore.degradations.resample import Bicubic
from restore.evaluate import psnr_y, quantise, ssim_y
from restore.prior import Denoiser

SCALES = (2, 3, 4)
STEPS = 8

#: PSNR-Y on Set5 by scale: RCAN and SwinIR papers.
LITERATURE: dict[str, dict[int, float]] = {
    "bicubic (literature)": {2: 33.66, 4: 28.42},
    "SRCNN, trained for the scale (literature)": {2: 36.66, 4: 30.48},
    "USRNet, one network for all (literature)": {2: 37.72, 4: 32.45},
    "SwinIR, trained for the scale (literature)": {2: 38.42, 4: 32.92},
}


def pairs(data: Path, name: str, scale: int, limit: int | None) -> list[tuple[str, Tensor, Tensor]]:
    """Name, low and high resolution; the latter cut to a multiple of the scale."""
    found = []
    for stem, high in common.pictures(data / "test" / name, limit):
        if name == "Set5":
            low = common.read(data / "test" / "Set5" / "LR_bicubic" / f"X{scale}" / f"{stem}x{scale}.png")
            height, width = (side * scale for side in low.shape[-2:])
            found.append((stem, low, high[..., :height, :width]))
        else:
            height, width = (side // scale * scale for side in high.shape[-2:])
            high = high[..., :height, :width]
            found.append((stem, quantise(Bicubic(scale, (height, width)).forward(high)), high))
    return found


def measure(restored: Tensor, truth: Tensor, scale: int) -> dict[str, float]:
    """Both scores of the picture as an 8-bit file would hold it."""
    saved = quantise(restored)
    return {"psnr": psnr_y(saved, truth, scale).item(), "ssim": ssim_y(saved, truth, scale).item()}


def ours(denoiser: Denoiser, low: Tensor, truth: Tensor, scale: int, steps: int) -> dict[str, float]:
    """Scores at fidelity 1, and the seconds taken."""
    start = common.clock()
    restored = common.restore_tensor(denoiser, low, "super-resolve", scale=scale, noise=0.0, steps=steps, fidelity=1.0)
    seconds = common.clock() - start
    return {**measure(restored, truth, scale), "seconds": seconds}


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--scales", type=int, nargs="+", default=SCALES, choices=SCALES)
    parser.add_argument("--set5-steps", type=int, nargs="+", default=(4, 8, 12), help="numbers of calls on Set5")
    parser.add_argument("--sets", nargs="+", default=("Set5", "CBSD68"), choices=("Set5", "CBSD68"))
    options = common.parse(parser)
    denoiser = common.open_prior(options)
    facts = common.circumstances(denoiser)
    context = {key: facts[key] for key in ("revision", "prior", "packages")}
    ledger = common.Ledger(options.out / "super_resolution.partial.jsonl", context)
    tables = []
    for name in options.sets:
        steps = sorted({*options.set5_steps, STEPS}) if name == "Set5" else [STEPS]
        tables += tabulate(name, options.scales, steps, run(options, name, steps, denoiser, ledger))
    common.report(
        options.out,
        "super_resolution",
        "Super-resolution of bicubic reductions",
        tables,
        (
            "PSNR in dB and SSIM on luma (BT.601, studio range), as many pixels cropped at every side as the scale.",
            "Ours: task super-resolve at fidelity 1, noise 0, answers clipped and rounded to 8 bits.",
            "Rows of the literature as published.",
        ),
        facts,
    )
    ledger.close()


def run(
    options: Any, name: str, steps: Sequence[int], denoiser: Denoiser, ledger: common.Ledger
) -> dict[tuple[int, str], list[dict[str, float]]]:
    """Scores of every picture, by scale and row."""
    scores: dict[tuple[int, str], list[dict[str, float]]] = {}
    for scale in options.scales:
        for stem, low, truth in pairs(options.data, name, scale, options.images):
            size = (truth.shape[-2], truth.shape[-1])
            bicubic = measure(bicubic_upsample(low, scale, size), truth, scale)
            scores.setdefault((scale, "bicubic"), []).append(bicubic)
            for count in steps:
                key = (name, scale, stem, count)
                found = ledger.get(*key)
                if found is None:
                    found = ours(denoiser, low, truth, scale, count)
                    ledger.put(found, *key)
                scores.setdefault((scale, row(count)), []).append(found)
            print(f"\r{name} x{scale} {stem}   ", end="", flush=True)
    print()
    return scores


def row(steps: int) -> str:
    """Name of our row."""
    return f"ours, {steps} calls"


def tabulate(
    name: str,
    scales: Sequence[int],
    steps: Sequence[int],
    scores: dict[tuple[int, str], list[dict[str, float]]],
) -> list[common.Table]:
    """PSNR with the gain over bicubic, SSIM, seconds."""
    count = len(scores[scales[0], "bicubic"])
    columns = ["method", *(f"x{scale}" for scale in scales)]
    methods = ["bicubic", *(row(k) for k in steps)]

    def average(method: str, key: str) -> list[float]:
        return [common.mean([score[key] for score in scores[scale, method]]) for scale in scales]

    psnr = common.Table(f"{name} ({count} pictures), PSNR-Y", columns)
    ssim = common.Table(f"{name}, SSIM-Y", columns, digits=4)
    seconds = common.Table(f"{name}, seconds a picture", columns)
    for method in methods:
        psnr.add(method, *average(method, "psnr"))
        ssim.add(method, *average(method, "ssim"))
        if method != "bicubic":
            seconds.add(method, *average(method, "seconds"))
    gains = [ours - base for ours, base in zip(average(row(STEPS), "psnr"), average("bicubic", "psnr"), strict=True)]
    psnr.add(f"gain over bicubic, {STEPS} calls", *gains)
    if name == "Set5":
        for method, published in LITERATURE.items():
            psnr.add(method, *(published.get(scale) for scale in scales))
    return [psnr, ssim, seconds]


if __name__ == "__main__":
    main()
