"""Turning the weights of a training run into a shipped prior.

    python -m models.release RUN/ema --photographs FOLDER

writes `weights/photo/` (config, float16 weights, v(sigma), int8 calibration, model card) and `weights/photo.json`
(facts and digests).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from models.denoiser import TorchDenoiser, network_info
from models.error_table import SIGMAS, central_crops, measure_error_table, save_error_table
from models.export import calibrate
from models.extreme_pictures import extreme_pictures
from models.registry import (
    CONFIG_FILE,
    DEFAULT,
    TABLE_FILE,
    WEIGHTS,
    WEIGHTS_FILE,
    PriorFacts,
    load_network,
    verify,
)
from models.registry.facts import file_facts
from models.runtime.building import CALIBRATION_FILE
from models.self_test import tested_levels
from models.training import VALIDATION_SIGMAS, Photographs
from restore.errors import CorruptWeightsError
from restore.prior.protocol import Denoiser

CARD_FILE = "MODEL_CARD.md"
CITATION = "Pellucid: photo restoration with a diffusion prior"

#: Pictures that weights must not blow up on, not one of them: synthetic ones, flat, saturated or patterned as training
#: crops hardly are (and not those that were trained on), and photographs; each with as much noise as the network is
#: told, with half of it and with none. Without normalisation a long training, or a few steps at a high learning rate,
#: can do that to a network whose scores on photographs have just become better.
SYNTHETIC_PICTURES, STABILITY_SIDE, SYNTHETIC_SEED = 60, 64, 10_000
NOISE_SHARES = (1.0, 0.5, 0.0)
#: Largest error of one estimate, in noise levels: twice what doing nothing errs by.
BLOWN_UP = 2.0

CARD = """\
# Prior `{name}`

A noise-conditional denoiser of colour photographs ({family}, {millions:.2f} million parameters, fully convolutional,
without normalisation) in the EDM parametrisation: D(x, sigma) = E[x0 | x0 + sigma n = x], range [-1, 1], trained for
sigma from {sigma_min} to {sigma_max}. Weights are stored in float16 and used in float32 or bfloat16.

## Use

It is the prior of every task of Pellucid, and a denoiser on its own. Any size; pictures are tiled.

## Training

{training}

## Data and licences

{data}

Licence of the code: {code}. Licence of the weights: {weights}.

## Scores

Mean PSNR in dB on {pictures} held-out photographs (central crops of {size}x{size} pixels, known sigma, float16
weights):

| sigma (0-255) | {sigmas} |
|---|{rule}|
| PSNR | {scores} |

The mean squared error at each noise level, v(sigma), is in `{table}`.

## Limits

Photographs, and synthetic patterns and lettering; medical and satellite pictures were not in the training data. What
noise has erased is replaced by what is plausible, not by what was there: a restored face or number plate is no
evidence. The prior sees about {field} pixels around each pixel and knows nothing of the scene beyond.
"""


def training_summary(run: Path) -> dict[str, Any]:
    """Steps, seconds and settings of a training run, from its `log.csv` and `config.json`; empty without them."""
    summary: dict[str, Any] = {}
    if (run / "log.csv").exists():
        with (run / "log.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if rows:
            summary |= {"steps": int(rows[-1]["step"]), "seconds": int(float(rows[-1]["seconds"]))}
    if (run / CONFIG_FILE).exists():
        summary["settings"] = json.loads((run / CONFIG_FILE).read_text())
    return summary


@torch.no_grad()
def check_stability(denoiser: Denoiser, photographs: Sequence[Tensor], name: str, seed: int = 0) -> None:
    """Refuse weights whose estimate, of a single picture, errs by more than the noise that they are told.

    Args:
        denoiser: of colour or grey pictures.
        photographs: [C, H, W] each, in [-1, 1]; their upper left corners are used.
        name: of the weights, for the message.
        seed: of the noise.

    Raises:
        CorruptWeightsError: with the first noise level at which one does.
    """
    info = denoiser.info
    side = -(-STABILITY_SIDE // info.multiple_of) * info.multiple_of
    synthetic = [
        torch.from_numpy(picture).permute(2, 0, 1).float()[: info.channels] / 127.5 - 1.0
        for picture in extreme_pictures(SYNTHETIC_PICTURES, side, SYNTHETIC_SEED)
    ]
    kinds = {"a synthetic picture": synthetic, "a photograph": [p[:, :side, :side] for p in photographs]}
    for level, share in itertools.product(tested_levels(info), NOISE_SHARES):
        for kind, pictures in kinds.items():
            clean, sigma = torch.stack(pictures), level / 127.5
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
            told = torch.tensor([sigma])
            estimates = [denoiser(noisy[None], told) for noisy in clean + share * sigma * noise]
            errors = (torch.cat(estimates) - clean).square().mean((1, 2, 3)).sqrt()
            blown = ~(errors < BLOWN_UP * sigma)  # of a NaN, too
            if bool(blown.any()):
                worst = float(errors.nan_to_num(torch.inf).max()) * 127.5
                raise CorruptWeightsError(
                    f"{name} blows up: told of noise {level}, of which there is {share:g} times as much, it errs by "
                    f"{worst:.0f} on {kind} (0-255 scale), by too much on {int(blown.sum())} of {len(clean)}; train "
                    "on, with a lower learning rate, more synthetic patches or mismatched ones and a teacher"
                )


@torch.no_grad()
def denoising_scores(denoiser: Denoiser, pictures: Sequence[Tensor], seed: int = 1) -> dict[str, float]:
    """Mean PSNR in dB over pictures [C, H, W] at each of `VALIDATION_SIGMAS` (0-255), estimates clipped."""
    scores = {}
    for level in VALIDATION_SIGMAS:
        generator = torch.Generator().manual_seed(seed)
        psnr = []
        for picture in pictures:
            noise = torch.randn(picture.shape, generator=generator)
            sigma = torch.tensor([level / 127.5])
            estimate = denoiser((picture + sigma * noise)[None], sigma)[0].clamp(-1, 1)
            psnr.append(-10.0 * np.log10((estimate - picture).square().mean().item() / 4.0))
        scores[str(level)] = round(float(np.mean(psnr)), 3)
    return scores


def release(
    ema_folder: Path,
    out: Path = WEIGHTS / DEFAULT,
    *,
    photographs: Sequence[NDArray[np.uint8]],
    data: str = "Photographs under free licences.",
    weights_licence: str = "Apache-2.0",
    training: dict[str, Any] | None = None,
    sigmas: Sequence[float] = SIGMAS,
    size: int = 256,
    device: str = "cpu",
    precision: str = "auto",
    int8: bool = False,
) -> PriorFacts:
    """Write a shipped prior; what was there under its name is replaced only once everything is ready.

    Args:
        ema_folder: `config.json` and safetensors of the weights to ship (`DenoisingUNet.save_pretrained`).
        out: folder of the prior; its name is the prior's, and the facts go beside it as NAME.json.
        photographs: held out from training, uint8 HWC, on which v(sigma) and the scores are measured.
        data: the model card's account of the training photographs and their licences, Markdown.
        weights_licence: SPDX identifier.
        training: summary for facts and card; read from the run around `ema_folder` when None.
        sigmas: noise levels of the error table.
        size: side of the central crops that are measured; smaller photographs are left out.
        device: where to measure.
        precision: in which to measure, see `TorchDenoiser`.
        int8: whether to write what the int8 graph is made with, too (`models.export.calibrate`).

    Raises:
        CorruptWeightsError: the folder holds no usable network, a weight float16 cannot hold, or one that blows up.
        ExportError: too few photographs for int8.
        ParityError: int8 loses too much at every noise level.
        ValueError: no photograph is at least `size` pixels high and wide.
    """
    source = load_network(ema_folder)
    halves = {key: value.to(torch.float16).contiguous() for key, value in source.state_dict().items()}
    for key, value in halves.items():
        if not bool(value.isfinite().all()):
            raise CorruptWeightsError(f"{ema_folder}: {key} is not finite in float16; do not release these weights")
    training = training_summary(ema_folder.parent) if training is None else training
    name = out.name
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".release-") as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        shutil.copyfile(ema_folder / CONFIG_FILE, folder / CONFIG_FILE)
        save_file(halves, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        # Measured with the weights as users will get them: read back from float16.
        network = load_network(folder)
        info = network_info(network, name)
        denoiser = TorchDenoiser(network, info, device, precision)
        pictures = central_crops(photographs, size)
        check_stability(denoiser, pictures, str(ema_folder))
        save_error_table(measure_error_table(denoiser, pictures, sigmas), folder / TABLE_FILE)
        written = [CONFIG_FILE, WEIGHTS_FILE, TABLE_FILE]
        if int8:
            digest = f"sha256:{file_facts(folder / WEIGHTS_FILE)['sha256']}"
            calibration = calibrate(load_network(folder), replace(info, digest=digest), photographs)
            (folder / CALIBRATION_FILE).write_text(json.dumps(calibration, indent=1) + "\n", encoding="utf-8")
            written.append(CALIBRATION_FILE)
        scores = denoising_scores(denoiser, pictures)
        parameters = sum(p.numel() for p in source.parameters())
        card = CARD.format(
            name=name,
            family=type(network).__name__,
            millions=parameters / 1e6,
            sigma_min=info.sigma_min,
            sigma_max=info.sigma_max,
            training=_describe(training),
            data=data.strip(),
            code="Apache-2.0",
            weights=weights_licence,
            pictures=len(pictures),
            size=size,
            sigmas=" | ".join(scores),
            rule="---|" * (len(scores) - 1) + "---",
            scores=" | ".join(f"{score:.2f}" for score in scores.values()),
            table=TABLE_FILE,
            field=info.receptive_field,
        )
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        files = {file: file_facts(folder / file) for file in written}
        facts = PriorFacts(
            name=name,
            family=type(network).__name__,
            tasks=("any",),
            licence={"code": "Apache-2.0", "weights": weights_licence},
            folder=out,
            files=files,
            sigma_min=info.sigma_min,
            sigma_max=info.sigma_max,
            channels=info.channels,
            multiple_of=info.multiple_of,
            receptive_field=info.receptive_field,
            parameters=parameters,
            citation=CITATION,
            training=training,
            scores={"validation": scores},
        )
        (Path(scratch) / "facts.json").write_text(json.dumps(facts.record(), indent=2) + "\n", encoding="utf-8")
        if out.exists():
            out.rename(Path(scratch) / "previous")
        folder.rename(out)
        (Path(scratch) / "facts.json").replace(out.parent / f"{name}.json")
    return verify(name, out.parent)


def _describe(training: dict[str, Any]) -> str:
    """The training summary as Markdown."""
    lines = []
    if "steps" in training:
        hours = training["seconds"] / 3600
        lines.append(f"{training['steps']} steps in {hours:.1f} hours; the weights are a moving average (EMA).")
    if "command" in training:
        lines.append(f"    {training['command']}")
    if "settings" in training:
        lines.append("Settings: " + ", ".join(f"{k} {v}" for k, v in training["settings"].items()) + ".")
    return "\n\n".join(lines) or "No record was kept."


def main(arguments: Sequence[str] | None = None) -> None:
    """Release weights from the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.release", description="Ship the weights of a training run.")
    parser.add_argument("ema", type=Path, help="folder with config.json and safetensors, such as RUN/ema")
    parser.add_argument("--photographs", type=Path, required=True, help="folder that the run was trained on")
    parser.add_argument("--out", type=Path, default=WEIGHTS / DEFAULT, help="folder of the prior")
    parser.add_argument("--data", type=Path, help="Markdown file: the model card's data section")
    parser.add_argument("--weights-licence", default="Apache-2.0", help="SPDX identifier")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-int8", action="store_true", help="do not calibrate int8")
    options = parser.parse_args(arguments)
    facts = release(
        options.ema,
        options.out,
        photographs=Photographs.load(options.photographs).validation,
        weights_licence=options.weights_licence,
        device=options.device,
        int8=not options.no_int8,
        **({"data": options.data.read_text(encoding="utf-8")} if options.data else {}),
    )
    print(f"{facts.folder}: {facts.parameters / 1e6:.2f} million parameters, {facts.digest}")
    print("validation PSNR:", ", ".join(f"sigma {k}: {v} dB" for k, v in facts.scores["validation"].items()))


if __name__ == "__main__":
    main()
