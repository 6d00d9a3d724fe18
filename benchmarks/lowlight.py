"""Low light on real pairs: fixed gamma and histogram equalisation against low-light-enhance.

The references are used for scoring only: no gain, colour or brightness is fitted to them. PSNR over RGB; SSIM with the
11x11 Gaussian window of sigma 1.5, mean over R, G and B; both on 8-bit pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import common
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restore.evaluate import psnr, quantise, ssim
from restore.prior import Denoiser

GAMMA = 0.4
Pixels = NDArray[np.uint8]


def gamma(pixels: Pixels) -> Pixels:
    """(value / 255)^0.4."""
    return np.asarray(np.round(255.0 * (pixels / 255.0) ** GAMMA), np.uint8)


def equalise_luma(pixels: Pixels) -> Pixels:
    """Histogram equalisation of Y of YCrCb."""
    return _equalise(pixels, cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, (0,))


def equalise_value(pixels: Pixels) -> Pixels:
    """Histogram equalisation of V of HSV."""
    return _equalise(pixels, cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, (2,))


def equalise_channels(pixels: Pixels) -> Pixels:
    """Histogram equalisation of R, G and B."""
    return _equalise(pixels, None, None, (0, 1, 2))


def _equalise(pixels: Pixels, there: int | None, back: int | None, planes: tuple[int, ...]) -> Pixels:
    converted = np.array(pixels if there is None else cv2.cvtColor(pixels, there))
    for plane in planes:
        converted[:, :, plane] = cv2.equalizeHist(np.ascontiguousarray(converted[:, :, plane]))
    return np.asarray(converted if back is None else cv2.cvtColor(converted, back), np.uint8)


BASELINES: dict[str, Callable[[Pixels], Pixels]] = {
    "gamma 0.4": gamma,
    "equalised Y": equalise_luma,
    "equalised V": equalise_value,
    "equalised R, G, B": equalise_channels,
}
OURS, TONES = "ours", "ours, tones only"


def to_pixels(x: Tensor) -> Pixels:
    """[1, 3, H, W] in [-1, 1] to HWC uint8."""
    return (x[0].clamp(-1.0, 1.0) * 127.5 + 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def to_tensor(pixels: Pixels) -> Tensor:
    """HWC uint8 to [1, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def answers(denoiser: Denoiser, dark: Tensor) -> tuple[dict[str, Tensor], float]:
    """Every method's picture, and the seconds ours took."""
    pixels = to_pixels(dark)
    found = {name: to_tensor(method(pixels)) for name, method in BASELINES.items()}
    start = common.clock()
    found[OURS] = common.restore_tensor(denoiser, dark, "low-light-enhance")
    seconds = common.clock() - start
    found[TONES] = brightened(dark)
    return {name: quantise(x) for name, x in found.items()}, seconds


def brightened(dark: Tensor) -> Tensor:
    """Our tone curve without denoising."""
    from restore.estimation.exposure import estimate_exposure

    return estimate_exposure(dark).brighten(dark)


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--sheet", type=Path, help="PNG to write: dark, gamma, equalised, ours, reference")
    parser.add_argument("--sheet-pairs", type=int, default=6, help="pairs on the sheet")
    options = common.parse(parser)
    folder = options.data / "test" / "lowlight"
    denoiser = common.open_prior(options)
    pairs = common.pictures(folder / "low", options.images)
    every = max(1, len(pairs) // options.sheet_pairs)
    scores: dict[str, list[tuple[float, float]]] = {}
    rows, total = [], 0.0
    for index, (name, dark) in enumerate(pairs):
        reference = common.read(folder / "high" / f"{name}.png")
        found, seconds = answers(denoiser, dark)
        total += seconds
        for method, x in found.items():
            scores.setdefault(method, []).append((psnr(x, reference).item(), ssim(x, reference).item()))
        if index % every == 0 and len(rows) < options.sheet_pairs:
            shown = (dark, found["gamma 0.4"], found["equalised Y"], found[OURS], reference)
            rows.append(np.hstack([to_pixels(x) for x in shown]))
        print(f"\r{index + 1}/{len(pairs)} {name}", end="", flush=True)
    print()
    if options.sheet is not None:
        Image.fromarray(np.vstack(rows)).save(options.sheet)
    table = common.Table(f"{len(pairs)} pairs", ["method", "PSNR", "SSIM"], digits=3)
    means = {m: (common.mean([p for p, _ in s]), common.mean([q for _, q in s])) for m, s in scores.items()}
    for method, (decibel, similarity) in means.items():
        table.add(method, decibel, similarity)
    best = [max(means[m][k] for m in BASELINES) for k in (0, 1)]
    table.add("ours minus the best other", means[OURS][0] - best[0], means[OURS][1] - best[1])
    each = common.Table("Each picture, ours", ["picture", "PSNR", "SSIM"], digits=3)
    for (name, _), (decibel, similarity) in zip(pairs, scores[OURS], strict=True):
        each.add(name, decibel, similarity)
    common.report(
        options.out,
        "lowlight",
        "Low light, real pairs",
        [table, each],
        [
            "No use of the references: brightness and colour are the methods' own.",
            "PSNR in dB over RGB; SSIM: 11x11 Gaussian window of sigma 1.5, mean over R, G, B; 8-bit pictures.",
            f"Ours takes {total / len(pairs):.2f} s a picture.",
        ],
        common.circumstances(denoiser),
    )


if __name__ == "__main__":
    main()
