"""How strong the noise of a photograph is, white or not: what a denoiser should be told."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from restore.estimation.dark_noise import estimate_dark_noise
from restore.estimation.noise import analyse_noise

#: Noise is taken for correlated when its coarse-scale level (0-255) times (coarseness - 1) is above `CORRELATED`; or
#: above `COLOURED` once weighted by how colourful it is at a quarter of the resolution, full weight from `COLOURFUL`
#: on: a sensor's noise is its own in each colour, most texture is one of brightness. Of 28 photographs, and the same
#: through four simulated cameras without noise (Bayer pattern, demosaicked, halved or not, JPEG 80-95), 8 % are taken
#: for noisy (12 % without the colours); of noisy ones 54 % at 5.4 on the 0-255 scale (25 %) and 89 to 100 % from 8 on.
CORRELATED, COLOURED, COLOURFUL = 8.0, 4.5, 0.4
#: What the coarse-scale level is multiplied by: the less of the noise is left at the finest scale, the more lies at
#: scales that are not looked at, and the more a prior of white noise must be told of what it can see to smooth the
#: rest. A line through the levels that were best for the embedded prior on 28 photographs and eight such cameras: 0.5
#: to 1.2 dB below the best level of each picture.
WHOLE_SLOPE, WHOLE_OFFSET, WHOLE_RANGE = 1.0, -0.35, (0.7, 2.5)
#: Coarseness up to which noise is white, whatever its level. Of 360 noisy and clean pictures, simulated cameras' and
#: with white noise, none below 1.3 was taken for correlated; the coarse scales need not be looked at then.
WHITE = 1.1
#: Pixels averaged on each axis where the colours of the noise are looked at.
REDUCTION = 4


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
    sigma, coarseness = float(white.sigma[0]), float(white.coarseness[0])
    if coarseness <= WHITE:
        return sigma, False
    coarse = float(estimate_dark_noise(image).variance(image.mean((2, 3), keepdim=True)).mean().sqrt())
    sign = coarse * 127.5 * (coarseness - 1.0)
    if sign <= COLOURED or (sign <= CORRELATED and sign * _colourfulness(image) <= COLOURED):
        return sigma, False
    low, high = WHOLE_RANGE
    return max(sigma, min(max(WHOLE_SLOPE * coarseness + WHOLE_OFFSET, low), high) * coarse), True


def _colourfulness(image: Tensor) -> float:
    """How much of the noise at coarse scales is one of colour, in [0, 1]; 0 for a grey picture."""
    if bool((image == image[:, :1]).all()):
        return 0.0
    return min(float(analyse_noise(F.avg_pool2d(image, REDUCTION)).chroma[0]) / COLOURFUL, 1.0)
