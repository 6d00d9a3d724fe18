"""A learned estimator of colour: which colours would this grey photograph probably have had?

    python -m models.colour train --data PHOTOGRAPHS --out FOLDER

A small network looks at the whole picture, reduced, and answers with the mean of the colours that such a place of such
a picture has, and how far from it they lie. The mean is what has the least error, so doubtful places stay nearly grey.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.pretrained import Pretrained, read_verified, remember_config

WEIGHTS = Path(__file__).parent / "weights" / "colour"
#: Luma of R'G'B' (ITU-R BT.601-7, section 2.5.1), as in `restore.degradations.Grey`.
LUMA = (0.299, 0.587, 0.114)
#: Shorter side that pictures are brought to, and the longest the other one may become.
SIDE, LONGEST = 128, 1024
#: Rows of a picture that are coloured at a time: photographs may have tens of megapixels.
STRIP = 64
#: Height and width of what the network is given must be divisible by this.
MULTIPLE = 16
#: Of the guided filter that brings colours to full size: radius in pixels of the reduced picture, and the variance of
#: brightness (range [-1, 1]) below which it only smooths.
RADIUS, EDGE = 2, 4e-3


class _Block(nn.Module):
    """SiLU, conv 3x3, SiLU, conv 3x3, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + changed


class ColourNetwork(Pretrained):
    """Luma to colour differences and their variance, at half the size: a UNet whose coarsest level sees everything.

    Args:
        widths: channels of each level, the finest (half the size of the input) first.
        blocks: residual blocks of each level in each direction.
        dropout: share of the coarsest features dropped in training: there are only hundreds of photographs.
    """

    @remember_config
    def __init__(
        self, widths: tuple[int, ...] = (40, 80, 112, 144), blocks: tuple[int, ...] = (1, 1, 2, 2), dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(5, widths[0], 3, padding=1)
        stages = list(zip(widths, blocks, strict=True))
        self.down = nn.ModuleList(nn.Sequential(*(_Block(width) for _ in range(count))) for width, count in stages)
        self.up = nn.ModuleList(nn.Sequential(*(_Block(width) for _ in range(count))) for width, count in stages)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.whole = nn.Sequential(nn.Linear(2 * widths[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], widths[-1]))
        self.drop = nn.Dropout2d(dropout)
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        self.tail.bias.data = torch.tensor([0.0, 0.0, -4.0])

    def forward(self, luma: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate.

        Args:
            luma: [N, 1, H, W] in [-1, 1], H and W divisible by `MULTIPLE`.

        Returns:
            R - Y and B - Y [N, 2, H/2, W/2], and the logarithm of the variance [N, 1, H/2, W/2] in either of two
            orthonormal directions of colour, range [-1, 1].
        """
        rows = torch.linspace(-1.0, 1.0, luma.shape[2] // 2).to(luma).view(1, 1, -1, 1)
        rows = rows.expand(luma.shape[0], 1, -1, luma.shape[3] // 2)
        h = self.head(torch.cat([F.pixel_unshuffle(luma, 2), rows], dim=1))
        skips = []
        for level, stage in enumerate(self.down):
            h = stage(h)
            skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        seen = torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)
        h = self.drop(h + self.whole(seen)[:, :, None, None])
        for level in reversed(range(len(self.up))):
            h = self.up[level](h if level == len(self.shrink) else h + skips[level])
            if level > 0:
                h = self.grow[level - 1](h)
        out = self.tail(h).float()
        return out[:, :2], out[:, 2:].clamp(-12.0, 0.0)


def luma_of(picture: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, 1, H, W]."""
    return (picture * torch.tensor(LUMA).to(picture).view(1, 3, 1, 1)).sum(1, keepdim=True)


def differences(red_blue: Tensor) -> Tensor:
    """R - Y, G - Y and B - Y [N, 3, ...] from the first and the last [N, 2, ...]: their weighted sum is 0."""
    red, blue = red_blue[:, :1], red_blue[:, 1:]
    return torch.cat([red, -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1], blue], dim=1)


class Following:
    """Values brought to the size of a picture, their edges where it has edges, some rows at a time: the fast guided
    filter (He and Sun 2015, "Fast guided filter", algorithm 2).

    Args:
        values: [1, C, h, w].
        guide: [1, 1, h, w], the reduced picture.
        size: (height, width) of the picture.
    """

    def __init__(self, values: Tensor, guide: Tensor, size: tuple[int, int]) -> None:
        def mean(x: Tensor) -> Tensor:
            side = 2 * RADIUS + 1
            return F.avg_pool2d(x, side, 1, RADIUS, count_include_pad=False)

        level, middle = mean(guide), mean(values)
        slope = (mean(guide * values) - level * middle) / (mean(guide.square()) - level.square() + EDGE)
        self._line = torch.cat([mean(slope), mean(middle - slope * level)], 1)
        self._size = size

    def rows(self, top: int, luma: Tensor) -> Tensor:
        """[1, C, n, W] for the rows [1, 1, n, W] of the picture from `top` on."""
        height = self._line.shape[2]
        # Centres of pixels lie at (i + 0.5) / n, as in interpolate() with align_corners=False.
        down = (torch.arange(top, top + luma.shape[2]) + 0.5) * (height / self._size[0]) - 0.5
        down = down.clamp(0.0, height - 1.0)
        above = down.long().clamp(max=max(height - 2, 0))
        share = (down - above).view(1, 1, -1, 1)
        below = (above + 1).clamp(max=height - 1)
        line = torch.lerp(self._line[:, :, above], self._line[:, :, below], share)
        line = F.interpolate(line.flatten(1, 2), self._size[1], mode="linear").view(*line.shape[:3], -1)
        slope, offset = line.chunk(2, dim=1)
        return torch.addcmul(offset, slope, luma)


class LearnedColourEstimator:
    """A `ColourEstimator` (see restore.estimation.colour) made of a `ColourNetwork`.

    Args:
        network: in evaluation mode.
        digest: "sha256:..." of its weights.
    """

    def __init__(self, network: ColourNetwork, digest: str = "") -> None:
        self.network, self.digest = network, digest

    @torch.no_grad()
    def __call__(self, luma: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the probable pictures, [1, 3, H, W] with exactly this luma [1, 1, H, W] in [-1, 1], and the
        standard deviation [1, 1, H, W] of colour in either of two orthonormal directions."""
        full = luma.float().cpu()
        height, width = full.shape[-2:]
        scale = min(SIDE / min(height, width), LONGEST / max(height, width))
        inside = max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)
        shrinks = scale < 1.0
        small = F.interpolate(full, inside, mode="bilinear", antialias=shrinks)
        down, across = (-side % MULTIPLE for side in inside)
        red_blue, log_variance = self.network(F.pad(small, (0, across, 0, down), mode="replicate"))
        half = inside[0] // 2, inside[1] // 2
        answer = torch.cat([red_blue, log_variance], 1)[:, :, : half[0], : half[1]]
        following = Following(answer, F.avg_pool2d(small, 2), (height, width))
        picture, deviation = full.new_empty(1, 3, height, width), torch.empty_like(full)
        for top in range(0, height, STRIP):
            rows = full[:, :, top : top + STRIP]
            values = following.rows(top, rows)
            picture[:, :, top : top + STRIP] = rows + differences(values[:, :2])
            deviation[:, :, top : top + STRIP] = (0.5 * values[:, 2:].clamp(-12.0, 0.0)).exp()
        return picture, deviation


@lru_cache(maxsize=2)
def load_estimator(folder: Path = WEIGHTS) -> LearnedColourEstimator:
    """The shipped estimator, or one that `train` wrote.

    Raises:
        CorruptWeightsError: files are missing, or the weights are not those the folder's `digest.json` records.
    """
    return LearnedColourEstimator(*read_verified(ColourNetwork, folder, "colour estimator"))


def main(arguments: list[str] | None = None) -> None:
    """The command `python -m models.colour`."""
    from models.colour_training import average, train_estimator

    parser = argparse.ArgumentParser(prog="python -m models.colour", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train an estimator on colour photographs")
    mean = commands.add_parser("average", help="the mean of weights that were trained one from the other")
    mean.add_argument("folders", type=Path, nargs="+", help="what `train` wrote")
    for command in (train, mean):
        command.add_argument("--data", type=Path, required=True, help="folder of colour photographs")
        command.add_argument("--out", type=Path, required=True, help="folder for weights, config and digest")
    train.add_argument("--seconds", type=float, default=2400.0, help="time budget of the training loop")
    train.add_argument("--init", type=Path, help="folder of earlier weights to go on from")
    train.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.command == "average":
        print(json.dumps({"gain": average(options.folders, options.out, options.data)}))
        return
    rows = train_estimator(
        options.data, options.out, seconds=options.seconds, seed=options.seed, start_from=options.init
    )
    row: dict[str, Any]
    for row in rows:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
