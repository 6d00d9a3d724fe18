"""Blind noise levels: of white Gaussian noise, and of noise that grows with brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from restore.degradations.cosine import dct
from restore.errors import ImageValueError

PATCH = 8
#: Patches looked at, at most: they overlap by half, on large pictures they lie further apart.
STRIDE, MOST_PATCHES = 4, 25_000
#: Pixels from which on patches do not overlap. On ten 512x512 photographs with noise of 3 to 75 the root mean square
#: error was 0.9 to 2.9 % instead of 0.9 to 4.0 %, in a quarter of the time.
LARGE = 512 * 512
#: Share of the patches, the flattest, that is taken to show noise alone, and how many at least. Of 1, 3, 10 and 30 %,
#: 3 % had the smallest error at noise 5 to 25 over 60 photographs.
FLAT, FEWEST_FLAT = 0.03, 300
#: Frequencies u + v up to this choose the flat patches, those above measure the noise. The two are independent under
#: white noise, so that choosing does not bias measuring.
SPLIT = 6
#: Least share of the noise variance that clipping leaves in patches worth using, best first; the first that enough
#: patches pass.
INTACT = (0.8, 0.5, 0.3, 0.0)
ENOUGH = 3000
#: Relative excess of a variance over the fitted line at which its weight has fallen to a quarter: the variances of
#: textureless classes scatter by a few percent.
TEXTURE = 0.15
#: Rounding to 8 bits adds a uniform error of one step.
STEP = 1.0 / 127.5
#: Orthonormal opponent colours: grey, red against green, both against blue. Photographs have little detail in the
#: last two; independent noise is the same in all.
OPPONENT = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2.0 * 6**-0.5))


@dataclass(frozen=True)
class NoiseEstimate:
    """Noise of each picture of a batch.

    Attributes:
        sigma: [N], standard deviation, range [-1, 1].
        coarseness: [N], the level at middle frequencies over that at the highest, in the flattest patches: 1 for white
            noise. Well above (1.5), the noise is correlated between pixels (demosaicked, scaled, compressed) and
            stronger than sigma says, or there is texture everywhere.
        chroma: [N], the level in the opponent colours over that in grey: 1 for noise independent between channels, and
            for grey pictures; well below, the noise is mostly one of brightness and stronger there than sigma says.
    """

    sigma: Tensor
    coarseness: Tensor
    chroma: Tensor


def estimate_noise(image: Tensor) -> Tensor:
    """Standard deviation of additive white Gaussian noise, of each picture.

    Noise is what the flattest patches show at high frequencies of the DCT and of the opponent colours (percentile of
    local variances: Ponomarenko et al. 2007, "An automatic approach to lossy compression of AVIRIS images"; Colom and
    Buades 2013, Image Processing On Line 3). Their spectrum's median is the variance, so that a few frequencies with
    detail, or emptied by compression, do not count. Where the picture was clipped, the variance lost with it is
    restored from the distance to the limit (moments of a censored normal).

    Noise that grows with brightness: this is the level in the flat and mostly dark parts; see
    `estimate_poisson_gaussian`.

    Args:
        image: [N, C, H, W] float32, range [-1, 1], or beyond if noise was never clipped.

    Returns:
        [N], range [-1, 1]; 0 for a picture less than 8 pixels high or wide.

    Raises:
        ImageValueError: not four-dimensional, or not finite.
    """
    return analyse_noise(image).sigma


def analyse_noise(image: Tensor) -> NoiseEstimate:
    """`estimate_noise`, with signs of noise that is not white; same arguments and errors."""
    rows = [_analyse(row) for row in _checked(image)]
    sigma, coarseness, chroma = (torch.tensor(column, device=image.device) for column in zip(*rows, strict=True))
    return NoiseEstimate(sigma, coarseness, chroma)


def estimate_poisson_gaussian(image: Tensor, bins: int = 12) -> tuple[Tensor, Tensor]:
    """Gain a and read noise b of each picture: variance a (mean + 1) + b^2, as in `PoissonGaussianNoise`.

    The flattest patches of each class of brightness give its variance; a line is fitted through the classes, those
    far above it (texture) losing their weight (after Foi et al. 2008, IEEE TIP 17, section III). A variance in an
    opponent colour belongs to the mean of the channels weighted by its squared coefficients.

    Args:
        image: [N, C, H, W] float32, range [-1, 1], or beyond if noise was never clipped.
        bins: number of classes.

    Returns:
        a [N] and b [N], range [-1, 1]; both 0 for a picture less than 8 pixels high or wide.

    Raises:
        ImageValueError: not four-dimensional, or not finite.
    """
    pairs = [_fit_row(row, bins) for row in _checked(image)]
    a, b = (torch.tensor(column, device=image.device) for column in zip(*pairs, strict=True))
    return a, b


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[0] == 0:
        raise ImageValueError(f"the noise of pictures [N, C, H, W] can be estimated, not of {tuple(image.shape)}")
    # The extremes are NaN when any value is; finding them costs one pass.
    if not all(bool(torch.isfinite(extreme)) for extreme in image.aminmax()):
        raise ImageValueError("the picture holds NaN or infinity: its noise cannot be estimated")
    return image.detach().float()


class _Patches:
    """What the estimators need of one picture: its patches and their means, how much detail each has, and where the
    picture was clipped."""

    def __init__(self, picture: Tensor) -> None:
        channels, height, width = picture.shape
        if channels == 3 and torch.equal(picture[0], picture[1]) and torch.equal(picture[0], picture[2]):
            picture, channels = picture[:1], 1  # a grey picture stored in colour
        self.mix = torch.tensor(OPPONENT if channels == 3 else torch.eye(channels).tolist(), device=picture.device)
        least = PATCH if height * width >= LARGE else STRIDE
        stride = max(least, math.isqrt(height * width // MOST_PATCHES))
        views = picture.unfold(1, PATCH, stride).unfold(2, PATCH, stride)
        pixels = views.permute(1, 2, 0, 3, 4).reshape(-1, channels, PATCH * PATCH)
        darkest, brightest = (float(extreme) for extreme in picture.aminmax())
        self.low = -1.0 if darkest > -1.0 - 1e-4 else -math.inf
        self.high = 1.0 if brightest < 1.0 + 1e-4 else math.inf
        # Frames and other flat fills hold no noise; but a picture that is hardly anything else is a clean one.
        least_values, most_values = pixels.aminmax(dim=2)
        alive = (most_values - least_values).amax(1) > 1e-5
        count = int(alive.sum())
        if len(alive) // 4 < count < len(alive):
            pixels = pixels[alive]
        basis = dct(torch.eye(PATCH, device=picture.device), 0)
        self._basis = torch.kron(basis, basis).T.contiguous()
        frequency = _frequency(picture.device)
        # [n, C]: energy at low frequencies. The opponent colours are orthonormal: their energies have the same sum.
        self.detail = (pixels @ self._basis[:, (frequency > 0) & (frequency <= SPLIT)]).square().sum(2)
        self.mean = pixels.mean(2)
        self._pixels = pixels

    @property
    def unclipped(self) -> bool:
        return math.isinf(self.low) and math.isinf(self.high)

    def intact(self, sigma: Tensor | float) -> Tensor:
        """[n, C]: share of the noise variance that clipping left, for noise of standard deviation sigma."""
        share = torch.ones_like(self.mean)
        if not math.isinf(self.low):
            share = share * _censored_share((self.mean - self.low) / sigma)
        if not math.isinf(self.high):
            share = share * _censored_share((self.high - self.mean) / sigma)
        return share

    def flattest(self, among: Tensor, intact: Tensor, count: int) -> Tensor:
        """Those of the patches `among` that have the least energy at low frequencies, clipping made good."""
        detail = (self.detail[among] / intact[among]).sum(1)
        return among[detail.topk(min(count, len(detail)), largest=False, sorted=False).indices]

    def energies(self, chosen: Tensor, intact: Tensor) -> Tensor:
        """[k, C, 64]: squared coefficients in opponent colours of the chosen patches, clipping made good."""
        whole = (self._pixels[chosen] @ self._basis) / intact[chosen].sqrt()[..., None]
        return torch.einsum("dc,ncp->ndp", self.mix, whole).square()

    def rounded(self, chosen: Tensor) -> bool:
        """Whether the chosen patches hold whole numbers on the 0-255 scale only."""
        levels = (self._pixels[chosen] + 1.0) / STEP
        return bool((levels - levels.round()).abs().max() < 1e-3)


def _analyse(picture: Tensor) -> tuple[float, float, float]:
    """Sigma, coarseness and chroma of one picture [C, H, W]."""
    if min(picture.shape[-2:]) < PATCH:
        return 0.0, 1.0, 1.0
    patches = _Patches(picture)
    frequency = _frequency(picture.device)
    sigma = 3.0 * STEP
    for _ in range(8):
        intact = patches.intact(sigma)
        worst = intact.amin(1)
        for limit in INTACT:
            usable = (worst >= limit).nonzero()[:, 0]
            if len(usable) >= min(ENOUGH, len(worst) // 4):
                break
        flat = patches.flattest(usable, intact, max(FEWEST_FLAT, int(FLAT * len(worst))))
        energy = patches.energies(flat, intact).mean(0)
        variance = float(energy[:, frequency > SPLIT].median())
        before, sigma = sigma, max(math.sqrt(variance), 1e-6)
        if patches.unclipped or abs(sigma / before - 1.0) < 3e-3:
            break
    fine, middle = energy[:, frequency >= 11].mean(), energy[:, (frequency > SPLIT) & (frequency <= 8)].mean()
    level = energy[:, frequency > SPLIT].median(1).values
    chroma = float((level[1:].mean() / level[0].clamp(min=1e-12)).sqrt()) if len(level) == 3 else 1.0
    coarseness = float((middle / fine.clamp(min=1e-12)).sqrt())
    if patches.rounded(flat):
        variance = max(variance - STEP**2 / 12.0, 0.0)
    return math.sqrt(variance), coarseness, chroma


def _fit_row(picture: Tensor, bins: int) -> tuple[float, float]:
    """Gain and read noise of one picture [C, H, W]."""
    if min(picture.shape[-2:]) < PATCH:
        return 0.0, 0.0
    patches = _Patches(picture)
    frequency = _frequency(picture.device)
    brightness = (patches.mean + 1.0).clamp(min=0.0)
    share = patches.mix.square()
    a, b2 = 0.0, _analyse(picture)[0] ** 2
    for _ in range(5):
        intact = patches.intact((a * brightness + b2).clamp(min=STEP**2 / 12.0).sqrt())
        usable = (intact.amin(1) >= INTACT[0]).nonzero()[:, 0]
        if len(usable) < FEWEST_FLAT:
            usable = intact.amin(1).topk(min(FEWEST_FLAT, len(intact))).indices
        order = usable[brightness[usable].mean(1).argsort()]
        means, variances = [], []
        for part in order.chunk(max(2, min(bins, len(order) // 50))):
            flat = patches.flattest(part, intact, max(FEWEST_FLAT // 6, int(2 * FLAT * len(part))))
            means.append(share @ brightness[flat].mean(0))
            variances.append(patches.energies(flat, intact).mean(0)[:, frequency > SPLIT].median(1).values)
        before = (a, b2)
        a, b2 = _robust_line(torch.cat(means).double(), torch.cat(variances).double())
        if patches.unclipped or abs(a - before[0]) + abs(b2 - before[1]) < 0.01 * (a + b2):
            break
    if patches.rounded(flat):
        b2 = max(b2 - STEP**2 / 12.0, 0.0)
    return a, math.sqrt(b2)


def _robust_line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and offset, neither negative, of y over x; relative errors count, those above the line ever less."""
    fitted = y.median().clamp(min=1e-12).expand_as(y)
    for _ in range(20):
        above = (y / fitted - 1.0).clamp(min=0.0)
        w = 1.0 / (fitted * (1.0 + (above / TEXTURE).square())).square()
        w = w / w.sum()
        mx, my = float(w @ x), float(w @ y)
        spread = float(w @ (x - mx).square())
        slope = max(float(w @ ((x - mx) * (y - my))) / spread, 0.0) if spread > 1e-8 else 0.0
        offset = my - slope * mx
        if offset < 0.0:
            slope, offset = float(w @ (x * y)) / max(float(w @ x.square()), 1e-12), 0.0
        fitted = (slope * x + offset).clamp(min=1e-12)
    return slope, offset


def _frequency(device: torch.device) -> Tensor:
    """[64]: u + v of each coefficient of a patch."""
    k = torch.arange(PATCH, device=device)
    return (k[:, None] + k[None, :]).flatten()


@lru_cache(maxsize=1)
def _censored_table() -> Tensor:
    """Variance of max(n, 0) for n ~ N(alpha, 1), at 513 equidistant values of its mean from 0 to 4.

    mean m = phi + alpha Phi, second moment (1 + alpha^2) Phi + alpha phi (Tobin 1958; Greene, "Econometric Analysis",
    theorem on the censored normal). Means that only alpha < -1 would give are answered with the value at -1.
    """
    alpha = torch.linspace(-1.0, 5.0, 6001, dtype=torch.float64)
    density = torch.exp(-0.5 * alpha.square()) / math.sqrt(2.0 * math.pi)
    mass = torch.special.ndtr(alpha)
    mean = density + alpha * mass
    variance: Tensor = (1.0 + alpha.square()) * mass + alpha * density - mean.square()
    wanted = torch.linspace(0.0, 4.0, 513, dtype=torch.float64)
    return variance[torch.searchsorted(mean, wanted).clamp(max=len(alpha) - 1)].float()


def _censored_share(distance: Tensor) -> Tensor:
    """Variance left after clipping, for a mean that lies `distance` standard deviations inside the limit."""
    table = _censored_table().to(distance.device)
    place = (distance * 128.0).clamp(0.0, 511.999)
    index = place.long()
    below, above = table[index], table[index + 1]
    return below + (place - index) * (above - below)
