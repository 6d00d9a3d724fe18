"""The priors shipped in this package: facts about them as data, their files verified, loading by name.

`weights/NAME.json` holds the facts of a prior and the sha256 of every file in its folder `weights/NAME/`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.runtime import build, check_runtime
from restore.errors import CorruptWeightsError, RuntimeUnavailableError, UnknownPriorError

if TYPE_CHECKING:
    import torch

    from models.unet import DenoisingUNet
    from restore.prior.protocol import Denoiser

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "photo"

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
TABLE_FILE = "error_table.json"

#: Tiles of the embedded prior. With an overlap of 48 pixels the estimate of a 0.6-megapixel photograph lost 0.0005 dB
#: against the whole picture at sigma 100 (of 255), nothing below 25, and took as long; 32 pixels lost 0.0014 dB.
TILE, OVERLAP = 512, 48
#: On a CPU one tile fills the cores; more at a time only cost memory.
TILES_AT_ONCE = {"cpu": 1, "cuda": 8}

REMEDY = "reinstall pellucid, or restore the file from its repository"


@dataclass(frozen=True)
class PriorFacts:
    """What is known of a shipped prior without loading it.

    Attributes:
        name: how users call it.
        family: the network's class.
        tasks: what it serves; "any" for a prior of photographs.
        licence: {"code": SPDX, "weights": SPDX}.
        folder: where its files lie.
        files: file name -> {"sha256": hex, "bytes": size}.
        sigma_min: smallest noise level it was trained on, range [-1, 1].
        sigma_max: largest noise level it was trained on.
        channels: of the pictures it knows.
        multiple_of: height and width of its tiles are divisible by this.
        receptive_field: pixels across.
        parameters: number of weights.
        citation: how to cite it.
        training: summary of how it was trained.
        scores: measurements, {"validation": {sigma on the 0-255 scale: PSNR in dB}, ...}.
    """

    name: str
    family: str
    tasks: tuple[str, ...]
    licence: dict[str, str]
    folder: Path
    files: dict[str, dict[str, Any]]
    sigma_min: float
    sigma_max: float
    channels: int
    multiple_of: int
    receptive_field: int
    parameters: int
    citation: str
    training: dict[str, Any]
    scores: dict[str, Any]

    @property
    def digest(self) -> str:
        """ "sha256:..." of the weights."""
        return f"sha256:{self.files[WEIGHTS_FILE]['sha256']}"

    @classmethod
    def read(cls, path: Path) -> PriorFacts:
        """Read `NAME.json`.

        Raises:
            CorruptWeightsError: the file is unreadable or incomplete.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            facts |= {"tasks": tuple(facts["tasks"]), "folder": path.parent / facts["name"]}
            prior = cls(**facts)
            complete = all(entry["sha256"] and entry["bytes"] >= 0 for entry in prior.files.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptWeightsError(f"{path} does not describe a prior ({error}); {REMEDY}") from error
        missing = {CONFIG_FILE, WEIGHTS_FILE, TABLE_FILE} - prior.files.keys()
        if missing or not complete:
            raise CorruptWeightsError(f"{path} lacks the digests of {sorted(missing) or 'its files'}; {REMEDY}")
        return prior


def list_priors(weights: Path = WEIGHTS) -> tuple[PriorFacts, ...]:
    """Facts of every shipped prior, by name. Does not load torch."""
    return tuple(PriorFacts.read(path) for path in sorted(weights.glob("*.json")))


def prior_facts(name: str | None = None, weights: Path = WEIGHTS) -> PriorFacts:
    """Facts of one shipped prior; of the default one for None.

    Raises:
        UnknownPriorError: no such prior.
        CorruptWeightsError: its description is damaged.
    """
    name = DEFAULT if name is None else name
    # Compare with what exists instead of building a path from a name that may come from a request.
    paths = {path.stem: path for path in weights.glob("*.json")}
    if name not in paths:
        known = ", ".join(sorted(paths)) or "none"
        raise UnknownPriorError(f"no prior is called {name!r}; known priors: {known}")
    return PriorFacts.read(paths[name])


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(name: str | None = None, weights: Path = WEIGHTS) -> PriorFacts:
    """Check every file of a prior against its registered sha256 and return the prior's facts.

    Raises:
        UnknownPriorError: no such prior.
        CorruptWeightsError: a file is missing or is not the registered one; the message names it.
    """
    facts = prior_facts(name, weights)
    for file, entry in facts.files.items():
        path = facts.folder / file
        try:
            size, digest = path.stat().st_size, file_sha256(path)
        except OSError as error:
            raise CorruptWeightsError(f"{path} of prior {facts.name!r} cannot be read ({error}); {REMEDY}") from error
        if size != entry["bytes"] or digest != entry["sha256"]:
            raise CorruptWeightsError(
                f"{path} of prior {facts.name!r} is not the registered file: {size} bytes, sha256 {digest[:12]}..., "
                f"expected {entry['bytes']} bytes, {entry['sha256'][:12]}...; {REMEDY}"
            )
    return facts


def load_network(folder: Path) -> DenoisingUNet:
    """The network saved in `folder` (config.json and safetensors, any float type), in float32 on the CPU.

    Raises:
        CorruptWeightsError: a file is missing or damaged, or the two do not fit together.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.unet import DenoisingUNet

    accepted = inspect.signature(DenoisingUNet.__init__).parameters.keys() - {"self"}
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("_class_name") != DenoisingUNet.__name__:
            raise ValueError(f"it describes a {config.get('_class_name')}, not a {DenoisingUNet.__name__}")
        settings = {key: value for key, value in config.items() if not key.startswith("_")}
        if settings.keys() - accepted:
            raise ValueError(f"unknown settings {sorted(settings.keys() - accepted)}")
        network: DenoisingUNet = DenoisingUNet(**settings)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CorruptWeightsError(f"{path} cannot be used ({error}); {REMEDY}") from error
    path = folder / WEIGHTS_FILE
    try:
        tensors = {key: value.to(torch.float32) for key, value in load_file(path).items()}
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CorruptWeightsError(f"{path} cannot be used ({error}); {REMEDY}") from error
    return network


def choose_device(device: str = "auto") -> torch.device:
    """ "auto" is the first CUDA device where there is one, else the CPU.

    Raises:
        RuntimeUnavailableError: this machine has no such device.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise RuntimeUnavailableError(f"no device {device!r}; choose auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise RuntimeUnavailableError(
            f"no device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices; choose auto or cpu"
        )
    if chosen.type not in ("cpu", "cuda"):
        raise RuntimeUnavailableError(f"no device {device!r}; choose auto, cpu, cuda or cuda:N")
    return chosen


def load_folder(
    folder: Path,
    *,
    name: str | None = None,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    digest: str = "",
) -> Denoiser:
    """The denoiser saved in `folder`, for pictures of any size: a training run's `ema/`, or a released prior.

    Nothing is verified beyond the files' own consistency; v(sigma) is used where the folder has it.

    Args:
        folder: holds config.json, the safetensors and perhaps error_table.json.
        name: reported in `info`; the folder's name when None.
        device: see `choose_device`.
        runtime: see `models.runtime.build`.
        precision: see `models.runtime.build`.
        digest: reported in `info`.

    Raises:
        CorruptWeightsError: a file is missing or damaged.
        RuntimeUnavailableError: no such device, runtime or precision here.
    """
    check_runtime(runtime)
    chosen = choose_device(device)
    from models.denoiser import network_info
    from models.error_table import load_error_table
    from restore.prior.tiled import TiledDenoiser

    network = load_network(folder)
    table = load_error_table(folder / TABLE_FILE) if (folder / TABLE_FILE).exists() else None
    info = network_info(network, folder.name if name is None else name, table, digest)
    denoiser = build(network, info, device=chosen, runtime=runtime, precision=precision, digest=digest)
    return TiledDenoiser(denoiser, TILE, OVERLAP, TILES_AT_ONCE[chosen.type])


def load_denoiser(
    name: str | None = None, *, runtime: str = "auto", device: str = "auto", weights: Path = WEIGHTS
) -> Denoiser:
    """A shipped prior as a `Denoiser` for pictures of any size, its files verified first.

    Args:
        name: of the prior; None for the default one.
        runtime: one of `models.runtime.RUNTIMES`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        weights: folder of the registry.

    Raises:
        UnknownPriorError: no such prior.
        CorruptWeightsError: a file is missing or is not the registered one.
        RuntimeUnavailableError: this machine has no such runtime or device.
    """
    check_runtime(runtime)
    facts = verify(name, weights)
    return load_folder(facts.folder, name=facts.name, device=device, runtime=runtime, digest=facts.digest)
