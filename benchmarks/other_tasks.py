"""Deblurring, inpainting, undoing JPEG and colourising, on crops of CBSD68, against classical methods.

- deblurring: Gaussian of 1.6 pixels, noise 2.55, unknown surround; scikit-image's Wiener-Hunt filter, which tunes
  itself, and Richardson-Lucy with 30 iterations;
- inpainting: a square and four strokes, then a large square, scored inside them alone; OpenCV's Telea and Navier-Stokes
  methods;
- JPEG of quality 10 and 30 (4:2:0): the file as decoded, and OpenCV's non-local means on it;
- colourising: the grey picture itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import common
import cv2
import numpy as np
import torch
from lowlight import Pixels, to_pixels, to_tensor
from PIL import Image
from skimage.restoration import richardson_lucy, unsupervised_wiener
from torch import Tensor

from restore import Restorer
from restore.degradations.blur import Blur
from restore.degradations.kernels import gaussian_kernel
from restore.evaluate import psnr, quantise, ssim
from restore.prior import Denoiser

EVERY = 9  # of CBSD68: eight pictures
KERNEL = gaussian_kernel(1.6, 15)
NOISE = 2.55
QUALITIES = (10, 30)
#: Filter strength of non-local means on compressed pictures: the best of 2, 4, ... 12 on four training photographs.
NLM_STRENGTH = {10: 6, 30: 4}
OURS = "ours"
#: Of Richardson-Lucy.
ITERATIONS = 30

Scores = dict[str, dict[str, float]]
"""By method: PSNR and, where the whole picture counts, SSIM."""


def deblurring(denoiser: Denoiser, name: str, clean: Tensor) -> Scores:
    """The measurement is smaller than the picture by the kernel's size - 1."""
    margin = KERNEL.shape[0] // 2
    truth = clean[..., margin:-margin, margin:-margin]
    y = Blur(KERNEL, boundary="valid").forward(clean)
    y = y + common.noise_for(name, y.shape) * (NOISE / 127.5)
    unit = ((quantise(y)[0] + 1.0) / 2.0).double().numpy()
    psf = KERNEL.double().numpy()
    return {
        "blurred": score(y, truth),
        "Wiener-Hunt": score(_planes(lambda plane: unsupervised_wiener(plane, psf, rng=0)[0], unit), truth),
        "Richardson-Lucy": score(_planes(lambda plane: richardson_lucy(plane, psf, num_iter=ITERATIONS), unit), truth),
        OURS: score(common.restore_tensor(denoiser, y, "deblur", kernel=KERNEL, noise=NOISE), truth),
    }


def _planes(method: Callable[[Any], Any], unit: Any) -> Tensor:
    """A method of grey pictures on each channel, given a mirrored surround so that it need not ring at the borders."""
    around = 2 * KERNEL.shape[0]
    padded = np.pad(unit, ((0, 0), (around, around), (around, around)), mode="symmetric")
    restored = np.stack([method(plane) for plane in padded]).astype(np.float32)
    inside = restored[:, around:-around, around:-around].copy()
    return torch.from_numpy(inside)[None] * 2.0 - 1.0


def inpainting(holes: Callable[[int, int], Tensor]) -> Callable[[Denoiser, str, Tensor], Scores]:
    """Scored inside the holes."""

    def run(denoiser: Denoiser, name: str, clean: Tensor) -> Scores:
        hole = holes(clean.shape[-2], clean.shape[-1])
        given = to_pixels(clean * ~hole)
        mask = hole.to(torch.uint8).numpy() * 255
        found = {
            "Telea": to_tensor(cv2.inpaint(given, mask, 5, cv2.INPAINT_TELEA)),
            "Navier-Stokes": to_tensor(cv2.inpaint(given, mask, 5, cv2.INPAINT_NS)),
            OURS: quantise(common.restore_tensor(denoiser, clean * ~hole, "inpaint", mask=hole)),
        }
        inside = hole.expand_as(clean)
        return {label: {"psnr": psnr(x[inside].view(1, 3, 1, -1), clean[inside].view(1, 3, 1, -1)).item()}
                for label, x in found.items()}  # fmt: skip

    return run


def small_holes(height: int, width: int) -> Tensor:
    """[H, W], True in a square of an eighth of the side and along four strokes of three pixels."""
    canvas = np.zeros((height, width), np.uint8)
    side = height // 8
    canvas[height // 2 : height // 2 + side, width // 3 : width // 3 + side] = 1
    for i in range(4):
        cv2.line(canvas, (0, (2 * i + 1) * height // 9), (width, (2 * i + 2) * height // 9), 1, 3)
    return torch.from_numpy(canvas) > 0


def large_hole(height: int, width: int) -> Tensor:
    """[H, W], True in the middle, three eighths of the height and of the width."""
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[height * 5 // 16 : height * 11 // 16, width * 5 // 16 : width * 11 // 16] = True
    return hole


def compressed(quality: int) -> Callable[[Denoiser, str, Tensor], Scores]:
    """The restored file, whose tables are read."""

    def run(denoiser: Denoiser, name: str, clean: Tensor) -> Scores:
        file = io.BytesIO()
        Image.fromarray(to_pixels(clean)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            decoded: Pixels = np.asarray(image.convert("RGB"))
        strength = NLM_STRENGTH[quality]
        means = cv2.fastNlMeansDenoisingColored(decoded, None, strength, strength, 7, 21)
        restored = Restorer(denoiser).dejpeg(file.getvalue()).tensor
        return {
            "as decoded": score(to_tensor(decoded), clean),
            "non-local means": score(to_tensor(means), clean),
            OURS: score(restored, clean),
        }

    return run


def colourising(denoiser: Denoiser, name: str, clean: Tensor) -> Scores:
    """Fidelity 1: the mean over what colours there may be."""
    grey = to_tensor(cv2.cvtColor(cv2.cvtColor(to_pixels(clean), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    return {"grey": score(grey, clean), OURS: score(common.restore_tensor(denoiser, grey, "colorize"), clean)}


def score(x: Tensor, truth: Tensor) -> dict[str, float]:
    """Of the picture as an 8-bit file would hold it."""
    saved = quantise(x)
    return {"psnr": psnr(saved, truth).item(), "ssim": ssim(saved, truth).item()}


TASKS: dict[str, Callable[[Denoiser, str, Tensor], Scores]] = {
    "deblurring, noise 2.55": deblurring,
    "inpainting, inside the holes": inpainting(small_holes),
    "inpainting, inside a large hole": inpainting(large_hole),
    **{f"JPEG of quality {quality}": compressed(quality) for quality in QUALITIES},
    "colourising": colourising,
}


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=256, help="side of the crops")
    options = common.parse(parser)
    denoiser = common.open_prior(options)
    facts = common.circumstances(denoiser)
    chosen = common.pictures(options.data / "test" / "CBSD68")[::EVERY][: options.images]
    images = [(name, common.centre(x, options.size, 16)) for name, x in chosen]
    context = {key: facts[key] for key in ("prior", "packages")} | {"size": options.size}
    ledger = common.Ledger(options.out / "other_tasks.partial.jsonl", context)
    tables = []
    for task, run in TASKS.items():
        found: dict[str, list[dict[str, float]]] = {}
        for name, clean in images:
            scores = ledger.get(task, name)
            if scores is None:
                scores = run(denoiser, name, clean)
                ledger.put(scores, task, name)
            for method, values in scores.items():
                found.setdefault(method, []).append(values)
            print(f"\r{task}: {name}".ljust(60), end="", flush=True)
        table = common.Table(task, ["method", "PSNR", "SSIM"], digits=3)
        for method, each in found.items():
            similarity = common.mean([v["ssim"] for v in each]) if "ssim" in each[0] else None
            table.add(method, common.mean([v["psnr"] for v in each]), similarity)
        tables.append(table)
    print()
    common.report(
        options.out,
        "other_tasks",
        f"Deblurring, inpainting, JPEG, colourising: {len(images)} crops of {options.size}x{options.size}",
        tables,
        [
            "PSNR in dB over RGB, SSIM the mean over R, G and B; answers clipped and rounded to 8 bits.",
            "Ours: the tasks with their default numbers of calls, fidelity 1. The noise, the blur, the holes are given "
            "to all; JPEG tables are read from the file.",
        ],
        facts,
    )
    ledger.close()


if __name__ == "__main__":
    main()
