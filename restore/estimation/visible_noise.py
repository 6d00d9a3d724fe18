"""How strong the noise of a photograph is, white or not: what a denoiser should be told."""

from __future__ import annotations

from torch import Tensor

from restore.estimation.dark_noise import estimate_dark_noise
from restore.estimation.noise import analyse_noise

#: Noise is taken for correlated when its coarse-scale level (0-255) times (coarseness - 1) is above this. Of 209 clean
#: photographs 3 % lie above, and nearly all of 28 photographs with simulated camera noise (Bayer pattern,
#: Poisson-Gaussian, demosaicked, JPEG 85-92) of 9 or more on the 0-255 scale.
CORRELATED = 7.0
#: What the coarse-scale level is multiplied by: the less of the noise is left at the finest scale, the more lies at
#: scales that are not looked at. Best of a sweep for the prior's PSNR on six such photographs: 0.7 at a coarseness of
#: 1.5 (reduced to half: 29.2, 29.2 and 32.3 dB against 28.7, 29.2 and 31.6 for 1), 1.5 to 2 at 2.5 to 3 (27.5 dB for
#: 1.5 against 26.4 for 1, and 25.2 at the white level).
WHOLE_SLOPE, WHOLE_OFFSET, WHOLE_RANGE = 0.65, -0.275, (0.7, 1.75)


def estimate_visible_noise(image: Tensor) -> tuple[float, bool]:
    """Standard deviation of a picture's noise, and whether it is correlated between pixels.

    A camera's noise is not white any more after demosaicking, scaling and compression: little of it is left at the
    highest frequencies, by which white noise is measured, and what one sees are blotches. Where the spectrum says so,
    the level at coarse scales is taken.

    Args:
        image: [1, 3, H, W] float32, range [-1, 1].

    Returns:
        standard deviation, range [-1, 1], and True for correlated noise.

    Raises:
        ImageValueError: not one picture, or not finite.
    """
    white = analyse_noise(image)
    sigma = float(white.sigma[0])
    coarse = float(estimate_dark_noise(image).variance(image.mean((2, 3), keepdim=True)).mean().sqrt())
    coarseness = float(white.coarseness[0])
    if coarse * 127.5 * (coarseness - 1.0) <= CORRELATED:
        return sigma, False
    low, high = WHOLE_RANGE
    return max(sigma, min(max(WHOLE_SLOPE * coarseness + WHOLE_OFFSET, low), high) * coarse), True
