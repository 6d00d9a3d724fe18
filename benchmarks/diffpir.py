"""Against deepinv's DiffPIR (Zhu et al. 2023) with our prior handed to it: same pictures, measurements, operators, run.

Three tasks: super-resolution x4 (antialiased bicubic, noise 2.55), Gaussian deblurring (standard deviation 1.6 in a
25x25 window, mirrored borders, noise 2.55), denoising (noise 50). The degradation, its exact data step and the prior
are the same objects for both sides, so that only the sampler differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import deepinv
import torch
from torch import Tensor, nn

from restore.degradations.base import LinearDegradation
from restore.degradations.blur import Blur
from restore.degradations.identity import Identity
from restore.degradations.kernels import gaussian_kernel
from restore.degradations.noise import GaussianNoise
from restore.degradations.resample import Bicubic
from restore.evaluate import LPIPS, psnr, quantise
from restore.prior import Denoiser
from restore.sampling.driver import run
from restore.sampling.protocol import Problem, RowNoise
from restore.sampling.schedules import few_step_sigmas
from restore.tasks.trust import SAMPLE_INFLATION, by_fidelity

#: Calls of the prior that DiffPIR makes: its paper's and deepinv's default, and its paper's fast setting.
DIFFPIR_STEPS = (100, 20)

#: deepinv's own defaults (deepinv.sampling.DiffPIR): the weight of the prior and the share of fresh noise.
DIFFPIR_LAMBDA = 7.0
DIFFPIR_ZETA = 0.1

#: What the comparison must reach at fidelity 1 and at fidelity 0.
GAIN, FASTER, SAMPLING_FASTER = 1.5, 12.0, 5.0

CROP = 256
EVERY = 9  # of CBSD68: eight pictures


@dataclass(frozen=True)
class Case:
    """A task of the comparison.

    Attributes:
        name: in the tables.
        noise: on the 0-255 scale.
        operator: degradation of a picture of this height and width, with its noise.
        ours: (denoiser, y, degradation, fidelity, steps) -> restored.
        calls: of the prior at fidelity 1.
        tuned: DiffPIR's lambda and zeta that were best on a training photograph, of 1, 7, 20 and 0.1, 0.5: the lowest
            LPIPS among those within 0.2 dB of the highest PSNR.
    """

    name: str
    noise: float
    operator: Callable[[tuple[int, int], GaussianNoise], LinearDegradation]
    ours: Callable[[Denoiser, Tensor, LinearDegradation, float, int], Tensor]
    calls: int
    tuned: tuple[float, float]


def super_resolve(denoiser: Denoiser, y: Tensor, degradation: LinearDegradation, fidelity: float, steps: int) -> Tensor:
    """The library's task."""
    return common.restore_tensor(
        denoiser, y, "super-resolve", scale=4, noise=2.55, steps=steps, fidelity=fidelity, seed=0
    )


def deblur(denoiser: Denoiser, y: Tensor, degradation: LinearDegradation, fidelity: float, steps: int) -> Tensor:
    """The library's task but for the borders, mirrored here so that both sides have a closed-form data step."""
    problem = Problem(y, degradation, denoiser.info, RowNoise(0, [0]))
    sampler = by_fidelity(fidelity, few_step_sigmas(steps, fidelity), sample_inflation=SAMPLE_INFLATION)
    return run(sampler(problem), denoiser)


def denoise(denoiser: Denoiser, y: Tensor, degradation: LinearDegradation, fidelity: float, steps: int) -> Tensor:
    """The library's task."""
    return common.restore_tensor(denoiser, y, "denoise", noise=50.0, steps=steps, fidelity=fidelity, seed=0)


#: As in the non-blind deblurring experiments of IRCNN (Zhang et al. 2017).
KERNEL = gaussian_kernel(1.6, 25)

CASES = (
    Case(
        "super-resolution x4, noise 2.55",
        2.55,
        lambda size, noise: Bicubic(4, size, noise),
        super_resolve,
        8,
        (1.0, 0.5),
    ),
    Case(
        "deblurring, noise 2.55",
        2.55,
        lambda size, noise: Blur(KERNEL, boundary="reflect", noise=noise),
        deblur,
        8,
        (1.0, 0.5),
    ),
    Case("denoising, noise 50", 50.0, lambda size, noise: Identity(noise), denoise, 1, (7.0, 0.1)),
)


class Physics(deepinv.physics.LinearPhysics):  # type: ignore[misc]
    """One of our degradations as deepinv sees it: pictures and measurements in [0, 1].

    The degradation maps a constant picture to the same constant, which is what lets the ranges be exchanged.
    """

    def __init__(self, degradation: LinearDegradation, sigma: float) -> None:
        super().__init__(noise_model=deepinv.physics.GaussianNoise(sigma))
        self.degradation = degradation

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """The forward operator."""
        return (self.degradation.forward(2.0 * x - 1.0) + 1.0) / 2.0

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """Its adjoint."""
        return self.degradation.adjoint(y)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any, **_: Any) -> Tensor:
        """argmin_x gamma/2 |A x - y|^2 + 1/2 |x - z|^2 = z + gamma A^T (I + gamma A A^T)^-1 (y - A z), exactly."""
        v = torch.as_tensor(gamma, dtype=z.dtype).reshape(-1).expand(z.shape[0])
        w = self.degradation.solve(y - self.A(z), torch.ones_like(v), v)
        return z + v.view(-1, 1, 1, 1) * self.degradation.adjoint(w)


class Prior(nn.Module):
    """Our prior as deepinv's samplers call it: values and sigma on [0, 1].

    DiffPIR starts at a noise level of 157 on [-1, 1], beyond what the prior was trained for. There the noisy picture
    is scaled down to the largest level it knows: nothing but noise is left of it in either.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Any, **_: Any) -> Tensor:
        """Denoise."""
        level = 2.0 * torch.as_tensor(sigma, dtype=torch.float32).reshape(-1).expand(x.shape[0])
        known = level.clamp(self.denoiser.info.sigma_min, self.denoiser.info.sigma_max)
        shrink = (known / level).clamp(max=1.0).view(-1, 1, 1, 1)
        return (self.denoiser((2.0 * x - 1.0) * shrink, known) + 1.0) / 2.0


def diffpir(
    denoiser: Denoiser, y: Tensor, degradation: LinearDegradation, noise: float, steps: int, zeta: float, weight: float
) -> Tensor:
    """deepinv's DiffPIR; y and the answer in [-1, 1]."""
    sampler = deepinv.sampling.DiffPIR(
        Prior(denoiser),
        deepinv.optim.data_fidelity.L2(),
        sigma=noise / 255.0,
        max_iter=steps,
        zeta=zeta,
        lambda_=weight,
    )
    answer: Tensor = sampler((y + 1.0) / 2.0, Physics(degradation, noise / 255.0), seed=1)
    return 2.0 * answer - 1.0


def crops(data: Path, limit: int | None) -> list[tuple[str, Tensor]]:
    """Centre crops: every ninth picture of CBSD68, and Set5."""
    chosen = common.pictures(data / "test" / "CBSD68")[::EVERY][:limit]
    chosen += common.pictures(data / "test" / "Set5", limit)
    return [(name, common.centre(x, CROP, 8)) for name, x in chosen]


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--zeta", type=float, default=DIFFPIR_ZETA, help="DiffPIR's share of fresh noise")
    parser.add_argument("--lambda", dest="weight", type=float, default=DIFFPIR_LAMBDA, help="DiffPIR's lambda")
    parser.add_argument("--posterior-steps", type=int, default=16, help="our calls of the prior at fidelity 0")
    parser.add_argument("--no-tuned", action="store_true", help="leave out DiffPIR with the settings tuned for it")
    parser.add_argument("--diffpir-steps", type=int, nargs="+", default=DIFFPIR_STEPS)
    options = common.parse(parser)
    denoiser = common.open_prior(options)
    distance = LPIPS(options.data / "metrics" / "lpips_alex_v0.1.safetensors")
    images = crops(options.data, options.images)
    facts = common.circumstances(denoiser)
    chosen = (options.zeta, options.weight, options.posterior_steps, [case.tuned for case in CASES])
    context = {**{key: facts[key] for key in ("revision", "prior", "packages")}, "settings": chosen}
    ledger = common.Ledger(options.out / "diffpir.partial.jsonl", context)
    warm_up(denoiser, images[0][1])
    tables = []
    verdict = common.Table(
        f"Ours against DiffPIR with {max(options.diffpir_steps)} calls",
        ["task", "DiffPIR's settings", "fidelity 1: dB more", "times faster", "fidelity 0: LPIPS more", "times faster"],
        digits=3,
    )
    for case in CASES:
        rows: dict[str, list[dict[str, float]]] = {}
        for name, clean in images:
            noise = GaussianNoise(case.noise / 127.5)
            degradation = case.operator((clean.shape[-2], clean.shape[-1]), noise)
            mean = degradation.forward(clean)
            y = mean + common.noise_for(name, mean.shape) * (case.noise / 127.5)
            for label, method in methods(case, options).items():
                found = ledger.get(case.name, name, label)
                if found is None:
                    found = measure(denoiser, partial(method, y=y, degradation=degradation), clean, distance)
                    ledger.put(found, case.name, name, label)
                rows.setdefault(label, []).append(found)
            print(f"\r{case.name}: {name}    ", end="", flush=True)
        print()
        tables.append(tabulate(case.name, rows))
        for settings in ("default", "tuned"):
            label = diffpir_label(max(options.diffpir_steps), settings)
            if label in rows:
                verdict.add(case.name, settings, *compare(rows, label))
    common.report(
        options.out,
        "diffpir",
        f"DiffPIR with the same prior ({len(images)} pictures of {CROP}x{CROP})",
        [verdict, *tables],
        (
            f"To be reached: {GAIN} dB and {FASTER:.0f} times faster at fidelity 1; LPIPS no worse and "
            f"{SAMPLING_FASTER:.0f} times faster at fidelity 0.",
            f"deepinv.sampling.DiffPIR, its own schedule; lambda {options.weight}, zeta {options.zeta}; tuned: "
            + "; ".join(f"{case.name}: {case.tuned[0]}, {case.tuned[1]}" for case in CASES)
            + ". Data fidelity L2, solved exactly; pictures, noise, operator and prior are the same for both.",
            "PSNR in dB and LPIPS (v0.1, AlexNet; less is better) of answers clipped and rounded to 8 bits; seconds a "
            "picture, all of it and inside the prior.",
        ),
        facts,
    )
    ledger.close()


def methods(case: Case, options: Any) -> dict[str, Callable[..., Tensor]]:
    """Label -> method(denoiser, y, degradation)."""

    def ours(fidelity: float, steps: int) -> Callable[..., Tensor]:
        return lambda denoiser, y, degradation: case.ours(denoiser, y, degradation, fidelity, steps)

    found = {"ours, fidelity 1": ours(1.0, case.calls), "ours, fidelity 0": ours(0.0, options.posterior_steps)}
    for steps in options.diffpir_steps:
        defaults = (options.weight, options.zeta)
        settings = {"default": defaults}
        if steps == max(options.diffpir_steps) and case.tuned != defaults and not options.no_tuned:
            settings["tuned"] = case.tuned
        for name, (weight, zeta) in settings.items():
            found[diffpir_label(steps, name)] = partial(
                diffpir, noise=case.noise, steps=steps, zeta=zeta, weight=weight
            )
    return found


def diffpir_label(steps: int, settings: str) -> str:
    """Name of its row."""
    return f"DiffPIR-{steps}, {settings}"


def measure(denoiser: Denoiser, method: Callable[..., Tensor], clean: Tensor, distance: LPIPS) -> dict[str, float]:
    """Scores, seconds, and the calls of the prior."""
    timed = common.Timed(denoiser)
    start = common.clock()
    restored = method(timed)
    seconds = common.clock() - start
    saved = quantise(restored)
    return {
        "psnr": psnr(saved, clean).item(),
        "lpips": distance(saved, clean).item(),
        "seconds": seconds,
        "prior": timed.seconds,
        "calls": timed.calls,
    }


def warm_up(denoiser: Denoiser, x: Tensor) -> None:
    """Let the runtime choose its kernels before anything is timed."""
    for _ in range(3):
        denoiser(x, torch.full((1,), 0.1))


def average(rows: dict[str, list[dict[str, float]]], label: str, key: str) -> float:
    """Over the pictures."""
    return common.mean([score[key] for score in rows[label]])


def tabulate(title: str, rows: dict[str, list[dict[str, float]]]) -> common.Table:
    """All methods on one task."""
    table = common.Table(title, ["method", "calls", "PSNR", "LPIPS", "seconds", "in the prior"], digits=3)
    for label in rows:
        scores = [average(rows, label, key) for key in ("psnr", "lpips", "seconds", "prior")]
        table.add(label, round(average(rows, label, "calls")), *scores)
    return table


def compare(rows: dict[str, list[dict[str, float]]], reference: str) -> tuple[float, float, float, float]:
    """PSNR gain and speed-up at fidelity 1, LPIPS difference and speed-up at fidelity 0."""
    seconds = average(rows, reference, "seconds")
    return (
        average(rows, "ours, fidelity 1", "psnr") - average(rows, reference, "psnr"),
        seconds / average(rows, "ours, fidelity 1", "seconds"),
        average(rows, "ours, fidelity 0", "lpips") - average(rows, reference, "lpips"),
        seconds / average(rows, "ours, fidelity 0", "seconds"),
    )


if __name__ == "__main__":
    main()
