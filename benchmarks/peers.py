"""Side by side in one process, on the same pictures and with the same prior: deepinv's DDRM, DPS and DiffPIR, the loop
of diffusers' DDPMPipeline, OpenCV's non-local means and CBM3D.

Two tasks: denoising (noise 25) and deblurring (Gaussian of 1.6 pixels, mirrored borders, noise 2.55; one singular value
decomposition serves all). Pictures take turns through all methods, so that a busy moment meets all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import common
import deepinv
import numpy as np
import plots
import torch
from denoise import bm3d, non_local_means
from diffpir import KERNEL, Prior, crops
from diffusers import DDPMPipeline, DDPMScheduler
from torch import Tensor, nn

from restore.degradations.base import LinearDegradation
from restore.degradations.blur import Blur
from restore.degradations.identity import Identity
from restore.degradations.noise import GaussianNoise
from restore.evaluate import psnr, quantise
from restore.prior import Denoiser
from restore.sampling.driver import run
from restore.sampling.protocol import Problem, RowNoise
from restore.sampling.schedules import few_step_sigmas
from restore.tasks.trust import by_fidelity

#: Calls of the prior: deepinv's own default of DDRM and DiffPIR, and the papers' fast setting; DPS with fewer than its
#: paper's 1000, which would take a minute for a crop.
STEPS = (100, 20)
DPS_STEPS = 100
#: Steps of the bare loops.
LOOP_STEPS = 20

Method = Callable[[Denoiser, Tensor], Tensor]
"""(prior, measurement in [-1, 1]) -> restored in [-1, 1]."""


@dataclass(frozen=True)
class Case:
    """A task of the comparison.

    Attributes:
        name: in the tables.
        noise: standard deviation, 0-255.
        ours: the degradation.
        theirs: deepinv's, of pictures in [0, 1].
        methods: by label.
    """

    name: str
    noise: float
    ours: LinearDegradation
    theirs: Any
    methods: dict[str, Method]


def cases(size: tuple[int, int], options: Any) -> list[Case]:
    """Both tasks for pictures of a size."""
    noise = {"denoising, noise 25": 25.0, "deblurring, noise 2.55": 2.55}
    built = []
    for name, level in noise.items():
        gaussian = GaussianNoise(level / 127.5)
        model = deepinv.physics.GaussianNoise(level / 255.0)
        if name.startswith("denoising"):
            ours: LinearDegradation = Identity(gaussian)
            theirs: Any = deepinv.physics.Denoising(model)
            methods: dict[str, Method] = {"ours, 1 call": denoise_ours}
            methods["OpenCV non-local means"] = lambda _, y: non_local_means(y, 25)
            if not options.no_bm3d:
                methods["CBM3D"] = lambda _, y: bm3d(y, 25)
        else:
            ours = Blur(KERNEL, boundary="reflect", noise=gaussian)
            theirs = decomposed(ours, size, model)
            methods = {f"ours, {steps} calls": partial(deblur_ours, degradation=ours, steps=steps) for steps in (8, 20)}
        for steps in options.steps:
            methods[f"deepinv DDRM, {steps} calls"] = partial(ddrm, physics=theirs, steps=steps)
            methods[f"deepinv DiffPIR, {steps} calls"] = partial(diffpir, physics=theirs, noise=level, steps=steps)
        methods[f"deepinv DPS, {options.dps_steps} calls"] = partial(dps, physics=theirs, steps=options.dps_steps)
        built.append(Case(name, level, ours, theirs, methods))
    return built


def decomposed(degradation: LinearDegradation, size: tuple[int, int], noise: Any) -> Any:
    """One of our degradations with its singular value decomposition as deepinv's samplers take it."""
    spectrum = degradation.spectrum((1, 3, *size))
    assert spectrum is not None
    return deepinv.physics.DecomposablePhysics(
        U=spectrum.from_u,
        U_adjoint=spectrum.to_u,
        V=spectrum.from_v,
        V_adjoint=spectrum.to_v,
        img_size=(3, *size),
        mask=spectrum.singular.expand(1, 3, *size).clone(),
        noise_model=noise,
    )


def denoise_ours(denoiser: Denoiser, y: Tensor) -> Tensor:
    """The library's task."""
    return common.restore_tensor(denoiser, y, "denoise", noise=25.0, fidelity=1.0)


def deblur_ours(denoiser: Denoiser, y: Tensor, degradation: LinearDegradation, steps: int) -> Tensor:
    """The library's task, but for the borders."""
    problem = Problem(y, degradation, denoiser.info, RowNoise(0, [0]))
    return run(by_fidelity(1.0, few_step_sigmas(steps, 1.0))(problem), denoiser)


def ddrm(denoiser: Denoiser, y: Tensor, physics: Any, steps: int) -> Tensor:
    """deepinv's DDRM with its own schedule and settings."""
    sampler = deepinv.sampling.DDRM(Prior(denoiser), sigmas=np.linspace(1.0, 0.0, steps))
    return _signed(sampler(_unit(y), physics, seed=1))


def diffpir(denoiser: Denoiser, y: Tensor, physics: Any, noise: float, steps: int) -> Tensor:
    """deepinv's DiffPIR with its own schedule and settings."""
    fidelity = deepinv.optim.data_fidelity.L2()
    sampler = deepinv.sampling.DiffPIR(Prior(denoiser), fidelity, sigma=noise / 255.0, max_iter=steps)
    return _signed(sampler(_unit(y), physics, seed=1))


def dps(denoiser: Denoiser, y: Tensor, physics: Any, steps: int) -> Tensor:
    """deepinv's DPS with its own settings: it differentiates the prior in every step."""
    sampler = deepinv.sampling.DPS(Prior(denoiser), num_steps=steps, dtype=torch.float32)
    return _signed(sampler(_unit(y), physics, seed=1))


def _unit(x: Tensor) -> Tensor:
    return (x + 1.0) / 2.0


def _signed(x: Any) -> Tensor:
    return 2.0 * torch.as_tensor(x).detach().float() - 1.0


class NoisePredictor(nn.Module):
    """The prior as a network of diffusers: predicts the noise in sqrt(a) x0 + sqrt(1 - a) n at timestep t."""

    def __init__(self, denoiser: Denoiser, scheduler: DDPMScheduler, size: int) -> None:
        super().__init__()
        self.denoiser, self.alphas = denoiser, scheduler.alphas_cumprod
        self.config = SimpleNamespace(sample_size=size, in_channels=3)
        self.dtype, self.device = torch.float32, torch.device("cpu")

    def forward(self, x: Tensor, t: Tensor) -> Any:
        """epsilon = (x - sqrt(a) D) / sqrt(1 - a)."""
        a = self.alphas[int(t)]
        sigma = ((1.0 - a) / a).sqrt().clamp(max=self.denoiser.info.sigma_max).expand(x.shape[0])
        estimate = self.denoiser(x / a.sqrt(), sigma)
        return SimpleNamespace(sample=(x - a.sqrt() * estimate) / (1.0 - a).sqrt())


def ddpm_loop(denoiser: Denoiser, size: int) -> Callable[[], object]:
    """diffusers' DDPMPipeline over our prior."""
    scheduler = DDPMScheduler()
    pipeline = DDPMPipeline(NoisePredictor(denoiser, scheduler, size), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return lambda: pipeline(num_inference_steps=LOOP_STEPS, generator=generator, output_type="np")


def loops(denoiser: Denoiser, y: Tensor, rounds: int) -> common.Table:
    """The bare loops with the same number of calls, and the calls alone."""
    size = y.shape[-1]
    sigma = torch.full((1,), 0.2)
    runs: dict[str, Callable[[], object]] = {
        "the calls alone": lambda: [denoiser(y, sigma) for _ in range(LOOP_STEPS)],
        "ours: posterior sampling": lambda: common.restore_tensor(
            denoiser, y, "denoise", noise=25.0, fidelity=0.0, steps=LOOP_STEPS
        ),
        "diffusers DDPMPipeline": ddpm_loop(denoiser, size),
    }
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for turn in range(rounds + 1):
        for label, call in runs.items():
            start = common.clock()
            call()
            if turn > 0:  # the first one warms up
                seconds[label].append(common.clock() - start)
    title = f"{LOOP_STEPS} calls at {size}x{size}: seconds of the whole loop, medians of {rounds} turns side by side"
    table = common.Table(title, ["loop", "seconds", "against the calls alone"], digits=3)
    alone = statistics.median(seconds["the calls alone"])
    for label, values in seconds.items():
        table.add(label, statistics.median(values), statistics.median(values) / alone)
    return table


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="calls of DDRM and DiffPIR")
    parser.add_argument("--dps-steps", type=int, default=DPS_STEPS)
    parser.add_argument("--size", type=int, default=256, help="side of the crops")
    parser.add_argument("--no-bm3d", action="store_true", help="leave CBM3D out")
    parser.add_argument("--rounds", type=int, default=5, help="of the bare loops")
    options = common.parse(parser)
    if not options.no_bm3d and find_spec("bm3d") is None:
        parser.error("CBM3D needs the bm3d package: pip install bm3d (free for non-commercial use only), or --no-bm3d")
    denoiser = common.open_prior(options, "torch")  # DPS differentiates it
    facts = common.circumstances(denoiser)
    images = [(name, common.centre(x, options.size, 8)) for name, x in crops(options.data, options.images)]
    settings = [list(options.steps), options.dps_steps, options.size, len(images)]
    context = {key: facts[key] for key in ("prior", "packages")} | {"settings": settings}
    ledger = common.Ledger(options.out / "peers.partial.jsonl", context)
    for _ in range(3):  # let the runtime choose its kernels
        denoiser(images[0][1], torch.full((1,), 0.1))
    tables = []
    for case in cases((options.size, options.size), options):
        scores: dict[str, list[dict[str, float]]] = {label: [] for label in case.methods}
        for name, clean in images:
            y = case.ours.forward(clean)
            y = y + common.noise_for(name, y.shape) * (case.noise / 127.5)
            for label, method in case.methods.items():
                found = ledger.get(case.name, name, label)
                if found is None:
                    found = measure(denoiser, method, y, clean)
                    ledger.put(found, case.name, name, label)
                scores[label].append(found)
                print(f"\r{case.name}: {name}, {label}".ljust(79), end="", flush=True)
        print()
        tables.append(tabulate(case.name, scores))
    draw(tables, options)
    tables.append(loops(denoiser, images[0][1], options.rounds))
    common.report(
        options.out,
        "peers",
        f"Against peers, {len(images)} crops of {options.size}x{options.size}",
        tables,
        [
            "PSNR in dB over RGB of answers clipped and rounded to 8 bits; seconds: median over the pictures of all a "
            "method does, in one process, methods taking turns.",
            "DDRM, DPS and DiffPIR are deepinv's, with its defaults but for the number of calls; the prior, pictures "
            "and noise are the same for all. Noise levels beyond the prior's are scaled down to its largest. DPS's "
            "paper takes 1000 calls. All three draw posterior samples; ours here is the posterior mean.",
            "Times in units of our first row are side by side. Non-local means has the strength tuned in denoise.py.",
        ],
        facts,
    )
    ledger.close()


def measure(denoiser: Denoiser, method: Method, y: Tensor, clean: Tensor) -> dict[str, float]:
    """PSNR and seconds."""
    start = common.clock()
    restored = method(denoiser, y)
    return {"seconds": common.clock() - start, "psnr": psnr(quantise(restored), clean).item()}


def tabulate(title: str, scores: dict[str, list[dict[str, float]]]) -> common.Table:
    """Mean PSNR, median seconds, and those in units of our first row."""
    table = common.Table(title, ["method", "PSNR", "seconds", "times ours"], digits=2)
    first: float | None = None
    for label, found in scores.items():
        seconds = statistics.median(score["seconds"] for score in found)
        first = first or seconds
        table.add(label, common.mean([score["psnr"] for score in found]), round(seconds, 3), seconds / first)
    return table


def draw(tables: list[common.Table], options: Any) -> None:
    """PSNR over seconds."""
    with plots.figure(options.out, "peers", (10.0, 4.0)) as figure:
        for index, table in enumerate(tables):
            axes = figure.add_subplot(1, len(tables), index + 1)
            for label, decibel, seconds, _ in table.rows:
                axes.plot(seconds, decibel, "o" if label.startswith("ours") else "x", label=label)
            axes.set(xscale="log", xlabel="seconds a picture", ylabel="PSNR, dB", title=table.title)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7, loc="lower left")


if __name__ == "__main__":
    main()
