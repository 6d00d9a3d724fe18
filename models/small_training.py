"""What the small estimators' trainings share: photographs held out by name, one loop for a time budget, one folder."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.pretrained import WEIGHTS_FILE, Pretrained, file_digest

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}

N = TypeVar("N", bound=Pretrained)


def photographs(folder: Path) -> list[Path]:
    """The files of a folder and those below it that look like photographs, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def held_out(path: Path) -> bool:
    """Whether a photograph, one in 16 and chosen by its name, is for validation."""
    return int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 16 == 0


def divided(crops: Iterable[tuple[bool, NDArray[np.uint8]]], lacking: str) -> tuple[Tensor, Tensor]:
    """(training, validation), uint8 NCHW; so few crops that one part is empty serve for both.

    Args:
        crops: of one size [H, W, 3], with whether each is held out.
        lacking: the message should there be none.

    Raises:
        FileNotFoundError: there is none.
    """
    parts: dict[bool, list[NDArray[np.uint8]]] = {False: [], True: []}
    for out, crop in crops:
        parts[out].append(crop)
    if not parts[False] or not parts[True]:
        pooled = parts[False] + parts[True]
        if not pooled:
            raise FileNotFoundError(lacking)
        parts = {False: pooled, True: pooled[:64]}
    train, validation = (torch.from_numpy(np.stack(parts[k])).permute(0, 3, 1, 2).contiguous() for k in (False, True))
    return train, validation


def fit(
    network: N,
    loss: Callable[[N], Tensor],
    score: Callable[[N], float],
    *,
    name: str,
    seconds: float,
    rate: float,
    weight_decay: float,
    every: float = 15.0,
) -> Generator[dict[str, Any], None, tuple[N, int]]:
    """Train for a time budget with AdamW; yields rows of numbers on the way.

    Args:
        network: trained in place.
        loss: of another batch each time.
        score: of the averaged weights on held-out photographs, the higher the better.
        name: of the score in the rows.
        seconds: length of the loop; the learning rate falls to zero along a cosine.
        rate: learning rate at the start.
        weight_decay: AdamW's.
        every: seconds between scores.

    Returns:
        the averaged weights that scored best, and the number of steps.
    """
    average = copy.deepcopy(network).requires_grad_(False).eval()
    best, best_weights = -math.inf, copy.deepcopy(average.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=weight_decay)
    start = reported = time.monotonic()
    step = 0
    losses: list[float] = []
    while (elapsed := time.monotonic() - start) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * 0.5 * (1.0 + math.cos(math.pi * elapsed / seconds))
        value = loss(network)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - keep)
        losses.append(value.item())
        if time.monotonic() - reported > every:
            reported = time.monotonic()
            found = score(average)
            if found > best:
                best, best_weights = found, copy.deepcopy(average.state_dict())
            yield {"step": step, "seconds": round(elapsed), "loss": round(sum(losses) / len(losses), 4), name: found}
            losses = []
    if best > score(average):
        average.load_state_dict(best_weights)
    return average, step


def write(network: Pretrained, out: Path, **facts: float) -> None:
    """Weights, config and `digest.json`, which holds the weights' sha256 and these facts."""
    network.save_pretrained(out)
    record = {"sha256": file_digest(out / WEIGHTS_FILE), **facts}
    (out / "digest.json").write_text(json.dumps(record, indent=2) + "\n")
