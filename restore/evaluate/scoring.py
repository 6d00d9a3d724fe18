"""Scores of a set of restored pictures against their references."""

from __future__ import annotations

import math
import statistics as descriptive
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from restore.errors import ImageError, ImageSizeError, ImageValueError, ParameterError, RuntimeUnavailableError
from restore.evaluate.frechet import Features, efficientnet_features, frechet_distance, inception_features, statistics
from restore.evaluate.lpips import LPIPS
from restore.evaluate.niqe import niqe
from restore.evaluate.pairs import Pair, find_pairs
from restore.evaluate.psnr import psnr, psnr_y
from restore.evaluate.ssim import ssim, ssim_y


@dataclass(frozen=True)
class Metric:
    """How a number is read.

    Attributes:
        name: key in reports.
        label: in tables and plots.
        higher: whether more is better.
        digits: printed.
        of_sets: one number for the whole set, none for a picture.
    """

    name: str
    label: str
    higher: bool
    digits: int
    of_sets: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR, dB", True, 2),
        Metric("psnr_y", "PSNR-Y, dB", True, 2),
        Metric("ssim", "SSIM", True, 4),
        Metric("ssim_y", "SSIM-Y", True, 4),
        Metric("lpips", "LPIPS", False, 4),
        Metric("niqe", "NIQE", False, 3),
        Metric("fid", "FID (Inception)", False, 2, of_sets=True),
        Metric("frechet_efficientnet", "Frechet distance (EfficientNet-Lite0)", False, 3, of_sets=True),
    )
}

Score = Callable[[Tensor, Tensor], float]
OnPair = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """What is computed, and how.

    Attributes:
        metrics: names in `METRICS`.
        crop: pixels ignored at every side by PSNR, SSIM and NIQE; super-resolution papers take the scale.
        lpips: file with the weights, see `restore.evaluate.LPIPS`.
        inception: file with the weights, see `restore.evaluate.frechet.inception_features`.
        device: where networks compute.
    """

    metrics: tuple[str, ...] = tuple(METRICS)
    crop: int = 0
    lpips: str | PathLike[str] | None = None
    inception: str | PathLike[str] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ParameterError(f"no metric {', '.join(unknown) or 'given'}; known: {', '.join(METRICS)}")
        if self.crop < 0:
            raise ParameterError(f"as many pixels cannot be cropped: {self.crop}")


@dataclass
class Evaluation:
    """What came out.

    Attributes:
        settings: what was asked for.
        images: one entry a picture: "name", "result", "reference", and its scores by metric (None where one has none,
            infinite PSNR of equal pictures as infinity), or "error".
        sets: scores of the whole set, by metric.
        missing: metric -> why it could not be computed.
        warnings: what the user should know.
    """

    settings: Settings
    images: list[dict[str, Any]] = field(default_factory=list)
    sets: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Entries of pictures that could not be compared."""
        return [entry for entry in self.images if "error" in entry]

    def values(self, metric: str) -> list[float]:
        """A metric's scores, of the pictures that have one."""
        return [entry[metric] for entry in self.images if entry.get(metric) is not None]

    def summary(self) -> dict[str, dict[str, float]]:
        """{metric: {"mean", "median", "worst", "pictures"}}, or {"value"} for those of the whole set."""
        found: dict[str, dict[str, float]] = {}
        for name in self.settings.metrics:
            if name in self.sets:
                found[name] = {"value": self.sets[name]}
            elif values := self.values(name):
                worst = min(values) if METRICS[name].higher else max(values)
                found[name] = {
                    "mean": sum(values) / len(values),
                    "median": descriptive.median(values),
                    "worst": worst,
                    "pictures": len(values),
                }
        return found


def evaluate(
    results: Path, references: Path, settings: Settings | None = None, on_pair: OnPair | None = None
) -> Evaluation:
    """Score restored pictures against references of the same names.

    Pictures are compared as sRGB; transparency is ignored. What cannot be computed is named in `missing`, never
    replaced by another number.

    Args:
        results: a folder or a file.
        references: a folder or a file.
        settings: everything by default.
        on_pair: told (pictures done, pictures in all).

    Raises:
        ParameterError: no pairs, see `find_pairs`.
        CorruptWeightsError: weights that are not what they should be.
    """
    evaluation = Evaluation(settings or Settings())
    pairs, evaluation.warnings = find_pairs(results, references)
    scores = _scores(evaluation)
    reasons: dict[str, str] = {}
    for index, pair in enumerate(pairs):
        evaluation.images.append(_score(pair, scores, reasons))
        if on_pair is not None:
            on_pair(index + 1, len(pairs))
    for name in scores:
        if name in reasons and not evaluation.values(name):
            evaluation.missing[name] = reasons[name]
        elif name in reasons:
            evaluation.warnings.append(f"{METRICS[name].label}: not of every picture ({reasons[name]})")
    compared = [pair for pair, entry in zip(pairs, evaluation.images, strict=True) if "error" not in entry]
    _compare_sets(evaluation, compared)
    return evaluation


def _scores(evaluation: Evaluation) -> dict[str, Score]:
    """What scores a pair, by metric; what cannot is noted."""
    settings = evaluation.settings
    crop = settings.crop
    found: dict[str, Score] = {}
    known: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
        "psnr": lambda: partial(psnr, crop=crop),
        "psnr_y": lambda: partial(psnr_y, crop=crop),
        "ssim": lambda: partial(ssim, crop=crop),
        "ssim_y": lambda: partial(ssim_y, crop=crop),
        "lpips": lambda: LPIPS(settings.lpips, device=settings.device),
        "niqe": lambda: lambda result, _: niqe(result, crop),
    }
    for name in settings.metrics:
        if name not in known:
            continue
        try:
            found[name] = _single(known[name]())
        except ParameterError as error:
            evaluation.missing[name] = str(error)
    return found


def _single(measure: Callable[[Tensor, Tensor], Tensor]) -> Score:
    return lambda result, reference: float(measure(result, reference))


def _score(pair: Pair, scores: dict[str, Score], reasons: dict[str, str]) -> dict[str, Any]:
    """One picture's entry."""
    entry: dict[str, Any] = {"name": pair.name, "result": str(pair.result), "reference": str(pair.reference)}
    try:
        result, reference = _read(pair.result), _read(pair.reference)
        if result.shape != reference.shape:
            sizes = [f"{x.shape[-1]}x{x.shape[-2]}" for x in (result, reference)]
            raise ImageSizeError(f"{pair.result}: is {sizes[0]}, its reference {sizes[1]}")
    except ImageError as error:
        return entry | {"error": str(error)}
    for name, score in scores.items():
        try:
            entry[name] = score(result, reference)
        except (ImageSizeError, ImageValueError) as error:
            entry[name] = None
            reasons.setdefault(name, f"{pair.name}: {error}")
        except RuntimeUnavailableError as error:
            entry[name] = None
            reasons.setdefault(name, str(error))
    return entry


def _read(path: Path) -> Tensor:
    from restore.images import decode

    return decode(path).image


def _compare_sets(evaluation: Evaluation, pairs: Sequence[Pair]) -> None:
    """Frechet distances, where their networks are at hand."""
    settings = evaluation.settings
    networks: dict[str, Callable[[], Features]] = {
        "fid": lambda: inception_features(settings.inception, settings.device),
        "frechet_efficientnet": lambda: efficientnet_features(settings.device),
    }
    for name in settings.metrics:
        if name not in networks:
            continue
        try:
            features = networks[name]()
            sides = (
                statistics(features, (_read(getattr(pair, side)) for pair in pairs)) for side in ("result", "reference")
            )
            evaluation.sets[name] = frechet_distance(*sides)
        except (ParameterError, RuntimeUnavailableError) as error:
            evaluation.missing[name] = str(error)
    if evaluation.sets:
        evaluation.warnings.append(
            f"Frechet distances of {len(pairs)} pictures are biased upwards (thousands are usual): compare them only "
            "with those of as many"
        )


def finite(value: Any) -> Any:
    """A number JSON can hold: None for infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
