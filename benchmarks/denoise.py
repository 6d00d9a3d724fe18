"""Colour Gaussian denoising on CBSD68: one call of the prior against classical methods and the literature.

Additive white Gaussian noise, neither clipped nor rounded, seeded by the picture's name; PSNR over RGB of the answer
as an 8-bit file would hold it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import common
import cv2
import numpy as np
import torch
from torch import Tensor

from restore.estimation import estimate_noise
from restore.evaluate import psnr, quantise
from restore.prior import Denoiser

SIGMAS = (5, 15, 25, 50, 100)

#: PSNR on all of CBSD68 as the DPIR and SwinIR papers tabulate it; 5: DnCNN's authors.
LITERATURE: dict[str, dict[int, float]] = {
    "CBM3D (literature)": {5: 40.24, 15: 33.52, 25: 30.71, 50: 27.38},
    "FFDNet (literature)": {15: 33.87, 25: 31.21, 50: 27.96},
    "DnCNN (literature)": {5: 40.50, 15: 33.90, 25: 31.24, 50: 27.95},
    "DRUNet (literature)": {15: 34.30, 25: 31.69, 50: 28.51},
    "SwinIR (literature)": {15: 34.42, 25: 31.78, 50: 28.56},
}

#: Filter strength of non-local means as a multiple of sigma: the best of 0.3-1.2 on four training photographs.
NLM_STRENGTH = {5: 1.2, 15: 0.9, 25: 0.8, 50: 0.8, 100: 0.7}

#: Classical methods are slow: they see every so many pictures.
NLM_EVERY = 4
BM3D_EVERY = 8
BM3D_SIGMAS = (15, 25, 50)


def known(denoiser: Denoiser, y: Tensor, sigma: float) -> Tensor:
    """One call of the prior at the true noise level."""
    return common.restore_tensor(denoiser, y, "denoise", noise=sigma, fidelity=1.0, steps=1)


def auto(denoiser: Denoiser, y: Tensor) -> tuple[Tensor, float]:
    """One call of the prior at the estimated noise level, and that level on the 0-255 scale."""
    level = float(estimate_noise(y)[0]) * 127.5
    return known(denoiser, y, level), level


def non_local_means(y: Tensor, sigma: int) -> Tensor:
    """OpenCV's non-local means over the three channels together (8-bit input is all it takes)."""
    pixels = ((quantise(y[0]) + 1.0) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)
    answer = cv2.fastNlMeansDenoising(np.ascontiguousarray(pixels), None, NLM_STRENGTH[sigma] * sigma, 7, 21)
    return torch.from_numpy(answer).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def bm3d(y: Tensor, sigma: int) -> Tensor:
    """CBM3D by its authors (Makinen, Azzari, Foi 2020), standard profile."""
    bm3d_rgb = import_module("bm3d").bm3d_rgb
    unit = (y[0].permute(1, 2, 0).double().numpy() + 1.0) / 2.0
    return torch.from_numpy(bm3d_rgb(unit, sigma / 255.0)).permute(2, 0, 1)[None].float() * 2.0 - 1.0


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--sigmas", type=int, nargs="+", default=SIGMAS, choices=SIGMAS)
    parser.add_argument(
        "--bm3d", action="store_true", help="measure CBM3D as well (minutes; its results are kept for later runs)"
    )
    options = common.parse(parser)
    if options.bm3d and find_spec("bm3d") is None:
        parser.error("--bm3d needs the bm3d package: pip install bm3d (free for non-commercial use only)")
    denoiser = common.open_prior(options)
    images = common.pictures(options.data / "test" / "CBSD68", options.images)
    facts = common.circumstances(denoiser)
    context = {key: facts[key] for key in ("revision", "prior", "packages")}
    ledger = common.Ledger(options.out / "denoise.partial.jsonl", context)
    # The classical methods do not depend on the prior: what was measured once is kept.
    classical = common.Ledger(
        options.out / "denoise_classical.jsonl", {"seeding": "crc32 of the name", "nlm": NLM_STRENGTH}
    )
    for index, (name, clean) in enumerate(images):
        noise = common.noise_for(name, clean.shape)
        for sigma in options.sigmas:
            y = clean + noise * (sigma / 127.5)
            if ledger.get(name, sigma) is None:
                ledger.put(measure(denoiser, y, clean, sigma), name, sigma)
            if index % NLM_EVERY == 0:
                keep(classical, "nlm", name, sigma, clean, partial(non_local_means, y, sigma))
            if options.bm3d and index % BM3D_EVERY == 0 and sigma in BM3D_SIGMAS:
                keep(classical, "bm3d", name, sigma, clean, partial(bm3d, y, sigma))
        print(f"\r{index + 1}/{len(images)} {name}", end="", flush=True)
    print()
    common.report(
        options.out,
        "denoise",
        f"Colour Gaussian denoising, CBSD68 ({len(images)} pictures)",
        tables(options, [name for name, _ in images], ledger, classical),
        (
            "PSNR in dB over RGB; noise neither clipped nor rounded, answers clipped and rounded to 8 bits.",
            "Ours: one call of the prior at fidelity 1.",
            "Rows of the literature: all 68 pictures, as published.",
        ),
        facts,
    )
    ledger.close()


def measure(denoiser: Denoiser, y: Tensor, clean: Tensor, sigma: int) -> dict[str, float]:
    """PSNR with the level known and estimated, the estimate, and the seconds of the first."""
    start = common.clock()
    restored = known(denoiser, y, sigma)
    seconds = common.clock() - start
    blind, level = auto(denoiser, y)
    return {
        "known": psnr(quantise(restored), clean).item(),
        "auto": psnr(quantise(blind), clean).item(),
        "level": level,
        "seconds": seconds,
    }


def keep(ledger: common.Ledger, method: str, name: str, sigma: int, clean: Tensor, run: Callable[[], Tensor]) -> None:
    """Measure a classical method unless it has been."""
    if ledger.get(method, name, sigma) is None:
        ledger.put(psnr(quantise(run()), clean).item(), method, name, sigma)


def tables(
    options: argparse.Namespace, names: list[str], ledger: common.Ledger, classical: common.Ledger
) -> list[common.Table]:
    """All pictures; the noise level that was estimated; the subsets the classical methods saw."""
    sigmas: list[int] = options.sigmas
    columns = ["method", *(f"sigma {sigma}" for sigma in sigmas)]

    def ours(key: str, subset: list[str]) -> list[float]:
        return [common.mean([ledger.get(name, sigma)[key] for name in subset]) for sigma in sigmas]

    def theirs(method: str, subset: list[str]) -> list[float | None]:
        found = [[classical.get(method, name, sigma) for name in subset] for sigma in sigmas]
        return [None if None in row else common.mean(row) for row in found]

    everything = common.Table(f"All {len(names)} pictures", columns)
    everything.add("ours, sigma known", *ours("known", names))
    everything.add("ours, noise=auto", *ours("auto", names))
    for method, published in LITERATURE.items():
        everything.add(method, *(published.get(sigma) for sigma in sigmas))
    details = common.Table("Noise estimated, and seconds a picture (481x321) with the noise known", columns)
    details.add("mean estimate", *ours("level", names))
    details.add("seconds", *ours("seconds", names))
    found = [everything, details]
    for method, label, every in (("nlm", "OpenCV non-local means", NLM_EVERY), ("bm3d", "CBM3D, measured", BM3D_EVERY)):
        subset = names[::every]
        scores = theirs(method, subset)
        if any(score is not None for score in scores):
            table = common.Table(f"Every {every}th picture ({len(subset)})", columns)
            table.add(label, *scores)
            table.add("ours, sigma known", *ours("known", subset))
            found.append(table)
    return found


if __name__ == "__main__":
    main()
