"""Denoising a camera's noise with the level left to the program: simulated raw pictures, developed and compressed.

Each picture of CBSD68 becomes the scene of a simulated camera: sRGB undone, white balance undone, a Bayer pattern of
red, green and blue, Poisson-Gaussian noise on it, then bilinear demosaicking, white balance, the sRGB curve and JPEG.
The reference is the same picture through the same camera without noise, so that only the noise counts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import common
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.estimation import estimate_noise, estimate_visible_noise
from restore.evaluate import psnr, quantise
from restore.prior import Denoiser

#: Gains of red and blue over green that the camera's white balance applies (daylight, roughly).
WHITE_BALANCE = np.array([2.0, 1.0, 1.6], np.float32)
#: What the best single level is looked for among: multiples of the level the program chose.
SWEEP = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7)


@dataclass(frozen=True)
class Camera:
    """Noise of a raw pixel v in [0, 1]: variance gain * v + read squared; `reduce` then scales the picture down."""

    name: str
    gain: float
    read: float
    quality: int = 90
    reduce: int = 1


CAMERAS = (
    Camera("low gain", 0.002, 0.002),
    Camera("middle gain", 0.006, 0.004),
    Camera("high gain", 0.02, 0.01),
    Camera("high gain, halved", 0.02, 0.01, reduce=2),
)


def decoded(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def encoded(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sRGB curve on [0, 1]."""
    x = np.clip(linear, 0.0, 1.0)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


def photograph(scene: NDArray[np.float32], camera: Camera, rng: np.random.Generator | None) -> Tensor:
    """What the camera makes of a scene [H, W, 3], sRGB in [0, 1]: [1, 3, h, w] in [-1, 1]; without noise for no rng."""
    raw_colours = decoded(scene) / WHITE_BALANCE
    height, width = scene.shape[:2]
    mosaic = raw_colours[..., 1].copy()
    mosaic[0::2, 0::2] = raw_colours[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = raw_colours[1::2, 1::2, 2]
    if rng is not None:
        deviation = np.sqrt(camera.gain * mosaic + camera.read**2)
        mosaic = mosaic + deviation * rng.standard_normal((height, width)).astype(np.float32)
    twelve_bits = np.clip(np.round(mosaic * 3800.0 + 256.0), 0, 4095).astype(np.uint16)
    # OpenCV names a pattern by its second row and column: this one begins with red.
    developed = cv2.cvtColor(twelve_bits, cv2.COLOR_BayerBG2RGB).astype(np.float32)
    picture = encoded((developed - 256.0) / 3800.0 * WHITE_BALANCE)
    if camera.reduce > 1:
        size = (width // camera.reduce, height // camera.reduce)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    eight_bits = np.round(picture * 255.0).astype(np.uint8)
    ok, file = cv2.imencode(".jpg", eight_bits[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    if not ok:
        raise RuntimeError("JPEG encoding failed")
    pixels = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def measure(denoiser: Denoiser, scene: Tensor, camera: Camera, name: str) -> dict[str, float | bool]:
    """PSNR of the noisy picture, of the answers at two estimated levels, and of the best of a sweep."""
    pixels = ((scene[0] + 1.0) / 2.0).permute(1, 2, 0).numpy()
    seed = zlib.crc32(f"{name} {camera.name}".encode())
    noisy, clean = photograph(pixels, camera, np.random.default_rng(seed)), photograph(pixels, camera, None)
    white = float(estimate_noise(noisy)[0]) * 127.5
    chosen, correlated = estimate_visible_noise(noisy)

    def score(level: float) -> float:
        answer = common.restore_tensor(denoiser, noisy, "denoise", noise=level, fidelity=1.0, steps=1)
        return psnr(quantise(answer), clean).item()

    sweep = {factor: score(chosen * 127.5 * factor) for factor in SWEEP}
    eight_bits = ((noisy[0] + 1.0) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)
    means = cv2.fastNlMeansDenoisingColored(eight_bits, None, 10, 10, 7, 21)
    non_local = torch.from_numpy(means).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    return {
        "noisy": psnr(noisy, clean).item(),
        "white": score(white),
        "chosen": sweep[1.0],
        "best": max(sweep.values()),
        "non-local means": psnr(non_local, clean).item(),
        "white level": white,
        "level": chosen * 127.5,
        "true level": (noisy - clean).std().item() * 127.5,
        "correlated": correlated,
    }


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--every", type=int, default=4, help="use every so many pictures")
    options = common.parse(parser)
    denoiser = common.open_prior(options)
    images = common.pictures(options.data / "test" / "CBSD68", options.images)[:: options.every]
    facts = common.circumstances(denoiser)
    context = {key: facts[key] for key in ("revision", "prior", "packages")}
    ledger = common.Ledger(options.out / "camera_noise.partial.jsonl", context)
    for index, (name, scene) in enumerate(images):
        for camera in CAMERAS:
            if ledger.get(name, camera.name) is None:
                ledger.put(measure(denoiser, scene, camera, name), name, camera.name)
        print(f"\r{index + 1}/{len(images)} {name}", end="", flush=True)
    print()
    scores = common.Table("PSNR in dB", ["method", *(camera.name for camera in CAMERAS)])
    levels = common.Table("Noise level on the 0-255 scale", ["level", *(camera.name for camera in CAMERAS)], digits=1)

    def average(key: str) -> list[float]:
        return [common.mean([float(ledger.get(name, camera.name)[key]) for name, _ in images]) for camera in CAMERAS]

    scores.add("noisy", *average("noisy"))
    scores.add("OpenCV non-local means, coloured, h = 10", *average("non-local means"))
    scores.add("ours at the level of white noise", *average("white"))
    scores.add("ours, noise=auto", *average("chosen"))
    scores.add("ours at the best level of a sweep (needs the truth)", *average("best"))
    levels.add("true, root mean square", *average("true level"))
    levels.add("measured as white noise", *average("white level"))
    levels.add("chosen by noise=auto", *average("level"))
    levels.add("share of pictures recognised as correlated", *average("correlated"))
    common.report(
        options.out,
        "camera_noise",
        f"Denoising a simulated camera's pictures, level unknown ({len(images)} pictures of CBSD68)",
        [scores, levels],
        (
            "Against the same picture through the same camera without noise; one call of the prior, fidelity 1.",
            "Cameras, as variance of a raw value v in [0, 1], JPEG quality: "
            + "; ".join(f"{c.name}: {c.gain} v + {c.read}^2, {c.quality}" for c in CAMERAS),
            f"The sweep: {', '.join(map(str, SWEEP))} times the chosen level, the best for each picture.",
        ),
        facts,
    )
    ledger.close()


if __name__ == "__main__":
    main()
