"""Training of a pixel prior: EDM loss, warmup-stable-decay learning rate, EMA, resume, validation.

A long training is a chain of short ones: the stable phase is checkpointed and resumed for as long as anyone
likes; a decay phase of a few minutes turns it into weights worth shipping.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.adoption import adopt
from models.crops import Crops
from models.denoiser import bf16_in_hardware
from models.muon import Muon
from models.objective import edm_loss, limited, mismatched_patches, noise_factors, sample_sigma, with_grey
from models.unet import DenoisingUNet

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}
VALIDATION_SIGMAS = (5, 15, 25, 50, 100)  # on the 0-255 scale

#: Photographs shown in examples/: held out, so that what the README shows was never trained on.
SHOWN = {"budgie_9ad2f8f9.jpg", "budgie_2bbd0bfe.jpg", "budgie_b60e6874.jpg", "budgie_0b2a6bde.jpg"}


@dataclass
class TrainingConfig:
    """Everything a training run depends on besides its photographs.

    A patch whose loss is more than `spike` times the running mean weighs only as much as one at that limit: without
    normalisation a patch can now and then blow up. Leaving it out teaches the network nothing, and it blows up again.

    `shrink` and `synthetic` are those of `models.crops.Crops`.

    A share of `mismatch` of the patches holds another noise than the network is told, from none to `LARGEST_MISMATCH`
    times as much: estimates of the noise err, and what a sampler hands over is noise in name only. Networks trained
    long on exact levels alone were seen to blow up on clean pictures told to be noisy. Only with a teacher (`Trainer`):
    one that learned to leave clean pictures alone was 1.2 dB worse a prior for super-resolution.

    Where the noise is as told, what is to be learned is the clean patch and, with a weight of `distilled`, the
    teacher's answer: without what nobody can tell from the noise, it is learned in fewer steps.

    A share of `grey` of the patches holds noise that is the same in every channel. Half of them are grey pictures,
    whose noise has 1 / sqrt(3) of the standard deviation that is told: as much in all, and what tasks tell a prior of
    colour about a grey picture. The others are in colour, as scanned film, with 1 / sqrt(3) to once the deviation.

    The noise distribution follows the ablation in the model card: most of the mass where restoration works
    (0.01-0.8), a tenth above, so that a warm start from nothing works.
    """

    channels: tuple[int, ...] = (96, 192, 320)
    blocks: tuple[int, ...] = (2, 2, 2)
    middle: int = 4
    unshuffle: int = 2
    activation: str = "hardswish"
    modulation: str = "levels"
    batch: int = 32
    patch: int = 64
    shrink: float = 1.0
    synthetic: float = 0.03
    mismatch: float = 0.0
    distilled: float = 0.0
    grey: float = 0.05
    lr: float = 2e-3
    optimizer: str = "muon"
    warmup_steps: int = 200
    weight_decay: float = 0.0
    ema: float = 0.999
    sigma_low: float = 0.01
    sigma_high: float = 0.8
    sigma_min: float = 0.01
    sigma_max: float = 10.0
    high_share: float = 0.1
    gradient_clip: float = 1.0
    spike: float = 10.0
    seed: int = 0
    device: str = "cpu"
    compile: bool = False
    budget_seconds: float = 3600.0
    decay_seconds: float = 600.0
    validate_every_seconds: float = 600.0
    checkpoint_every_seconds: float = 300.0


@dataclass
class Photographs:
    """Decoded photographs, uint8 HWC, kept in memory; a few are held out for validation by their name's hash."""

    train: list[NDArray[np.uint8]] = field(default_factory=list)
    validation: list[NDArray[np.uint8]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, holdout: int = 32) -> Photographs:
        """Decode every photograph of `folder`; one in `holdout` is kept for validation.

        Raises:
            FileNotFoundError: the folder holds no photograph.
        """
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise FileNotFoundError(f"no photographs in {folder}; expected files ending in {sorted(SUFFIXES)}")

        def decode(path: Path) -> NDArray[np.uint8]:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))

        photographs = cls()
        with ThreadPoolExecutor() as pool:
            for path, pixels in zip(files, pool.map(decode, files), strict=True):
                held_out = path.name in SHOWN or int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % holdout == 0
                (photographs.validation if held_out else photographs.train).append(pixels)
        if not photographs.train or not photographs.validation:
            photographs.train += photographs.validation
            photographs.validation = photographs.train[:1]
        return photographs


def reduced_precision(device: str) -> torch.autocast:
    """Autocast to bfloat16 where the hardware computes in it; elsewhere emulating it costs four times float32."""
    chosen = torch.device(device)
    return torch.autocast(chosen.type, torch.bfloat16, enabled=bf16_in_hardware(chosen))


@torch.no_grad()
def validate(
    model: torch.nn.Module, pictures: list[NDArray[np.uint8]], device: str, size: int = 192
) -> dict[int, float]:
    """Mean PSNR in dB on a central crop of each picture at each of `VALIDATION_SIGMAS`, with fixed noise."""
    scores = {}
    crops = []
    for p in pictures:
        top, left = (p.shape[0] - size) // 2, (p.shape[1] - size) // 2
        if top >= 0 and left >= 0:
            crops.append(torch.from_numpy(p[top : top + size, left : left + size].copy()).permute(2, 0, 1))
    clean = torch.stack(crops).float().to(device) / 127.5 - 1.0
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)).to(device)
    for level in VALIDATION_SIGMAS:
        sigma = torch.full((1,), level / 127.5, device=device)
        psnr = []
        for row, n in zip(clean, noise, strict=True):
            with reduced_precision(device):
                restored = model((row + sigma.view(-1, 1, 1) * n)[None].contiguous(), sigma)[0]
            mse = (restored.clamp(-1, 1) - row).square().mean() / 4.0
            psnr.append(-10.0 * math.log10(mse.item()))
        scores[level] = sum(psnr) / len(psnr)
    return scores


class Trainer:
    """One training run in one folder: `state.pt` (resumable), `log.csv`, `config.json`, `ema/` (weights).

    Args:
        photographs: what to train on.
        out: folder of the run; an existing `state.pt` in it is resumed.
        config: see `TrainingConfig`. On resume the network's shape must be that of the checkpoint.
        init: folder of weights to start from (a released prior, or another run's `ema/`), see `models.adoption.adopt`;
            without effect on a run that is resumed.
        teacher: folder of weights, of any shape, whose answers are to be learned where a patch holds another noise than
            is told (`TrainingConfig.mismatch`), instead of the clean patch, and elsewhere
            (`TrainingConfig.distilled`). Samplers call a prior at levels that are noise in name only, and need it to
            smooth there as much as it is told to.
        told_teacher: folder of weights whose answers are to be learned elsewhere, instead of the teacher's: the better
            a network is at the noise that it is told, the worse it may be at other noise.

    Raises:
        ValueError: the weights to start from are of a network of another shape.
    """

    def __init__(
        self,
        photographs: Photographs,
        out: Path,
        config: TrainingConfig,
        init: Path | None = None,
        teacher: Path | None = None,
        told_teacher: Path | None = None,
    ) -> None:
        self.photographs, self.out, self.config = photographs, out, config
        torch.manual_seed(config.seed)
        self.model = DenoisingUNet(
            channels=config.channels,
            blocks=config.blocks,
            middle=config.middle,
            patch=config.unshuffle,
            activation=config.activation,
            modulation=config.modulation,
            sigma_min=config.sigma_min,
            sigma_max=config.sigma_max,
        ).to(config.device)
        self.model.to(memory_format=torch.channels_last)
        if init is not None:
            adopt(self.model, DenoisingUNet.from_pretrained(init))
        self.teacher = None if teacher is None else self._frozen(teacher)
        self.told_teacher = self.teacher if told_teacher is None else self._frozen(told_teacher)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizers = self._optimizers()
        self.step = 0
        self.trained_seconds = 0.0
        # What an untrained network in this parametrisation starts from, and the patches so far that were limited.
        self.usual_loss = torch.ones((), device=config.device)
        self.spikes = torch.zeros((), dtype=torch.long, device=config.device)
        if (out / "state.pt").exists():
            self._resume(out / "state.pt")
        self.forward = torch.compile(self.model) if config.compile else self.model
        out.mkdir(parents=True, exist_ok=True)

    def _frozen(self, weights: Path) -> DenoisingUNet:
        network: DenoisingUNet = DenoisingUNet.from_pretrained(weights).to(self.config.device)
        return network.requires_grad_(False).to(memory_format=torch.channels_last)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        config = self.config
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for name, p in self.model.named_parameters():
            hidden = p.ndim == 4 and not name.startswith(("head", "tail"))
            (matrices if hidden and config.optimizer == "muon" else rest).append(p)
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True)
        ]
        if matrices:
            optimizers.append(Muon(matrices, config.lr, weight_decay=config.weight_decay))
        return optimizers

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.config.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.trained_seconds = state["step"], state["seconds"]

    def save_state(self) -> None:
        """Write `state.pt`, replacing the last one only when complete."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "seconds": self.trained_seconds,
        }
        partial = self.out / "state.pt.part"
        torch.save(state, partial)
        partial.replace(self.out / "state.pt")

    def train_step(self, clean: Tensor, rate: float) -> Tensor:
        """One step on a uint8 batch at a learning rate of `rate` times the configured one; returns the loss.

        Nothing here waits for the device: the loss is a tensor of no dimensions on it.
        """
        config = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate
        generator = torch.Generator(config.device).manual_seed(config.seed * 1_000_003 + self.step)
        images = clean.to(config.device).float() / 127.5 - 1.0
        sigma = sample_sigma(config, images.shape[0], generator)
        noise = torch.randn(images.shape, generator=generator, device=config.device)
        factors = noise_factors(config, images.shape[0], generator)
        noise *= factors.view(-1, 1, 1, 1)
        images, noise = with_grey(config, images, noise, generator)
        with reduced_precision(config.device):
            images, target = self._taught(images, sigma, noise)
            losses = edm_loss(self.forward, images, sigma, noise, target)
        limit = config.spike * self.usual_loss
        loss = limited(losses, limit)
        self.spikes += (~(losses.detach() <= limit)).sum()
        self.usual_loss = self.usual_loss.lerp(loss.detach(), 0.02)
        self.step += 1
        loss.backward()
        for p in self.model.parameters():
            if p.grad is not None:
                torch.nan_to_num_(p.grad, 0.0, 0.0, 0.0)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay)
        return loss.detach()

    @torch.no_grad()
    def _taught(self, images: Tensor, sigma: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Patches and what is to be answered to them: where noise and level do not match, what the teacher answers,
        to half of those patches after they were reduced and enlarged again; elsewhere, as far as `distilled` says, what
        the teacher of noise as told answers. A teacher that errs by more than the noise that it was told has nothing
        to teach about that patch."""
        count = mismatched_patches(self.config, len(images)) if self.teacher is not None else 0
        distilled = self.config.distilled if self.told_teacher is not None else 0.0
        images = images.clone()
        if count:
            factor = 0.5 if self.step % 2 else 0.25
            small = F.interpolate(images[:count:2], scale_factor=factor, mode="bicubic", antialias=True)
            images[:count:2] = F.interpolate(small, images.shape[-2:], mode="bicubic").clamp(-1.0, 1.0)
        target = images.clone()
        parts = ((self.teacher, slice(0, count), 1.0), (self.told_teacher, slice(count, None), distilled))
        for teacher, rows, share in parts:
            if teacher is None or share == 0.0 or not len(images[rows]):
                continue
            clean, told = images[rows], sigma[rows].view(-1, 1, 1, 1)
            answers = teacher(clean + told * noise[rows], sigma[rows]).float().clamp(-1.0, 1.0)
            errs = (answers - clean).square().mean((1, 2, 3), keepdim=True).sqrt()
            target[rows].lerp_(answers, share * (errs < told))
        return images, target

    def run(self) -> Iterator[dict[str, Any]]:
        """Train for the configured budget, yielding a row of numbers now and then; the last has `done`.

        The learning rate stays constant until `decay_seconds` before the end, then falls linearly to zero.
        `state.pt` keeps the end of the constant phase, `ema/` the averaged weights of the last validation and, at the
        end, those after the decay.
        """
        config = self.config
        (self.out / "config.json").write_text(json.dumps(asdict(config), indent=2))
        torch.backends.cudnn.benchmark = True  # patches of one shape, tens of thousands of times
        start_step = self.step
        already = self.trained_seconds
        last_report = last_validation = last_checkpoint = 0.0
        decaying = False
        losses: list[Tensor] = []
        crops = Crops(self.photographs.train, config.patch, config.shrink, config.synthetic, config.seed, config.device)
        start = time.monotonic()
        for clean in crops.batches(config.batch, config.seed + self.step):
            elapsed = time.monotonic() - start
            left = config.budget_seconds - elapsed
            if not decaying and left <= config.decay_seconds:
                self.save_state()
                decaying = True
            if left <= 0:
                break
            rate = min(1.0, (self.step - start_step + 1) / config.warmup_steps)
            if decaying:
                rate = min(rate, left / config.decay_seconds)
            losses.append(self.train_step(clean, rate))
            self.trained_seconds = already + time.monotonic() - start
            if not decaying and elapsed - last_checkpoint > config.checkpoint_every_seconds:
                self.save_state()
                last_checkpoint = elapsed
            if elapsed - last_report < 15.0:
                continue
            last_report = elapsed
            row: dict[str, Any] = {
                "step": self.step,
                "seconds": round(self.trained_seconds),
                "rate": round(rate, 4),
                "loss": round(float(torch.stack(losses).median()), 5),
                "spikes": int(self.spikes),
                "patches_per_second": round(len(losses) * config.batch / 15.0, 1),
            }
            losses = []
            if elapsed - last_validation > config.validate_every_seconds:
                last_validation = elapsed
                row |= {f"psnr{k}": round(v, 3) for k, v in self._validate().items()}
                self._log(row)
                self.ema.save_pretrained(self.out / "ema")
            yield row
        scores = self._validate()
        self.ema.save_pretrained(self.out / "ema")
        row = {"step": self.step, "seconds": round(self.trained_seconds), "rate": 0.0}
        row |= {f"psnr{k}": round(v, 3) for k, v in scores.items()}
        self._log(row)
        yield {**row, "done": True}

    def _validate(self) -> dict[int, float]:
        return validate(self.ema, self.photographs.validation, self.config.device)

    def _log(self, row: dict[str, Any]) -> None:
        path = self.out / "log.csv"
        columns = ["step", "seconds", "rate", "loss", "spikes", "patches_per_second"]
        columns += [f"psnr{k}" for k in VALIDATION_SIGMAS]
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            if new:
                writer.writeheader()
            writer.writerow(row)
