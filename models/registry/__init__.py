"""The priors by name: facts about them as data, their files verified, loading.

`weights/NAME.json` holds the facts of a shipped prior and the sha256 of every file in its folder `weights/NAME/`; the
user's private folder has the same form, and `catalogue/NAME.json` describes what can be pulled.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UnsupportedNetworkError
from models.loaders.embedded import CONFIG_FILE, REMEDY, WEIGHTS_FILE, load_network
from models.registry.facts import TABLE_FILE, PriorFacts, check_files, file_sha256
from models.registry.places import (
    CATALOGUE,
    DEFAULT,
    WEIGHTS,
    installed,
    known_facts,
    list_known,
    list_priors,
    prior_facts,
    prior_version,
    private_folder,
)
from models.registry.shortcut import note, prepare
from models.runtime import Choice, build, check_runtime
from restore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    import torch

    from models.footprint import Fit
    from models.loaders.loaded import LoadedPrior, LoadOptions
    from restore.prior.enlarger import Enlarger
    from restore.prior.protocol import Denoiser, PriorInfo
    from restore.prior.tiled import TiledDenoiser

__all__ = [
    "CATALOGUE",
    "CONFIG_FILE",
    "DEFAULT",
    "OVERLAP",
    "REMEDY",
    "TABLE_FILE",
    "TILE",
    "TILES_AT_ONCE",
    "WEIGHTS",
    "WEIGHTS_FILE",
    "PriorFacts",
    "check_files",
    "choose_device",
    "file_sha256",
    "installed",
    "known_facts",
    "list_known",
    "list_priors",
    "load_denoiser",
    "load_folder",
    "load_network",
    "load_path",
    "open_folder",
    "open_prior",
    "prior_facts",
    "prior_version",
    "private_folder",
    "verify",
]

#: `models.loaders.onnx_file.FAMILY`, without loading torch.
ONNX = "ONNX"
#: Tiles of the embedded prior. With an overlap of 48 pixels the estimate of a 0.6-megapixel photograph lost 0.0005 dB
#: against the whole picture at sigma 100 (of 255), nothing below 25, and took as long; 32 pixels lost 0.0014 dB.
TILE, OVERLAP = 512, 48
#: On a CPU one tile fills the cores; more at a time only cost memory.
TILES_AT_ONCE = {"cpu": 1, "cuda": 8}


def verify(name: str | None = None, weights: Path = WEIGHTS) -> PriorFacts:
    """Check every file of a prior against its registered sha256 and return the prior's facts.

    Raises:
        UnknownPriorError: no such prior.
        NotPulledError: it is known, but not on this machine.
        CorruptWeightsError: a file is missing or is not the registered one; the message names it.
    """
    facts = prior_facts(name, weights)
    check_files(facts)
    return facts


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
    options: LoadOptions | None = None,
    table: Path | None = None,
) -> Denoiser:
    """The denoiser in a folder or file, for pictures of any size: a training run's `ema/`, or any checkpoint.

    Nothing is verified beyond the files' own consistency; v(sigma) is used where the folder has it. A network that
    knows one size only runs in tiles of that size.

    Args:
        folder: what `models.loaders.load` reads, with perhaps an error_table.json in it.
        name: reported in `info`; the folder's name when None.
        device: see `choose_device`.
        runtime: see `models.runtime.build`.
        precision: see `models.runtime.build`.
        digest: reported in `info`.
        options: what the checkpoint does not say.
        table: file of v(sigma); error_table.json in the folder when None.

    Raises:
        CorruptWeightsError: a file is missing or damaged.
        UnsafeWeightsError: it holds code.
        UnsupportedNetworkError: no network that can be a prior here.
        RuntimeUnavailableError: no such device, runtime or precision here.
    """
    check_runtime(runtime)
    chosen = choose_device(device)
    loaded = open_folder(folder, name=name, options=options, table=table)
    return tiled(loaded, device=chosen, runtime=runtime, precision=precision, digest=digest)


def load_path(path: Path, *, device: str = "auto", runtime: str = "auto") -> Denoiser | Enlarger:
    """The prior in a file or folder, of whatever kind it is: a denoiser, or a latent upscaler.

    Args:
        path: see `load_folder`, and `models.latent.load_upscaler`.
        device: see `choose_device`.
        runtime: see `models.runtime.build`.

    Raises:
        CorruptWeightsError, UnsafeWeightsError, UnsupportedNetworkError, RuntimeUnavailableError: see `load_folder`.
    """
    from models.latent import check_latent_runtime
    from models.latent import load_upscaler as load_latent
    from models.latent.loading import is_latent

    if not is_latent(path):
        return load_folder(path, device=device, runtime=runtime)
    check_latent_runtime(path.name, runtime)
    return load_latent(path, str(choose_device(device)))


def open_folder(
    folder: Path, *, name: str | None = None, options: LoadOptions | None = None, table: Path | None = None
) -> LoadedPrior:
    """The network in a folder or file and its facts, v(sigma) among them where it is known; see `load_folder`."""
    from models.error_table import load_error_table
    from models.loaders import load

    loaded = load(folder, name, options)
    table = folder / TABLE_FILE if table is None else table
    if table.is_file():
        loaded = replace(loaded, info=replace(loaded.info, error_table=load_error_table(table)))
    return loaded


def tiled(
    loaded: LoadedPrior, *, device: torch.device, runtime: str = "auto", precision: str = "auto", digest: str = ""
) -> Denoiser:
    """A loaded checkpoint as a denoiser for pictures of any size, in tiles that fit into the device's free memory.

    Args:
        loaded: see `models.loaders.load`.
        device: where it runs.
        runtime: see `models.runtime.build`.
        precision: see `models.runtime.build`.
        digest: reported in `info`.

    Raises:
        RuntimeUnavailableError: no such runtime or precision here.
    """
    from models.footprint import fit_network
    from restore.prior.memory import available_bytes

    info = replace(loaded.info, digest=digest)
    fit = wanted_tiles(info, device)
    if loaded.family != ONNX:  # a file cannot be tried out; too little memory is found when it runs
        fit = fit_network(loaded.network, info, available_bytes(device), fit)
    denoiser = build(loaded.network, info, device=device, runtime=runtime, precision=precision, digest=digest)
    return in_tiles(denoiser, fit)


def wanted_tiles(info: PriorInfo, device: torch.device) -> Fit:
    """Tiles of a prior where memory does not matter."""
    from models.footprint import Fit

    return Fit(info.native_size or TILE, TILES_AT_ONCE[device.type])


def in_tiles(denoiser: Denoiser, fit: Fit) -> TiledDenoiser:
    """A denoiser in tiles of a size and number that fit."""
    from restore.prior.tiled import TiledDenoiser

    if denoiser.info.native_size is not None:
        return TiledDenoiser(denoiser, max_batch=fit.batch)
    return TiledDenoiser(denoiser, fit.tile, min(OVERLAP, fit.tile // 4), fit.batch)


def reference(loaded: LoadedPrior, device: torch.device) -> Denoiser:
    """A loaded checkpoint as it is tested and measured: by PyTorch in float32, an ONNX file by what runs it.

    Args:
        loaded: see `tiled`.
        device: where it runs.

    Raises:
        RuntimeUnavailableError: see `tiled`.
    """
    if loaded.family == ONNX:
        return tiled(loaded, device=device)
    return tiled(loaded, device=device, runtime="torch", precision="fp32")


def load_denoiser(
    name: str | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    weights: Path = WEIGHTS,
) -> Denoiser:
    """An installed prior as a `Denoiser` for pictures of any size, its files verified first.

    Args:
        name: of the prior; None for the default one.
        runtime: one of `models.runtime.RUNTIMES`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: see `models.runtime.build`.
        weights: folder of the registry.

    Raises:
        UnknownPriorError: no such prior.
        NotPulledError: it is known, but not on this machine.
        CorruptWeightsError: a file is missing or is not the registered one.
        UnsupportedNetworkError: it is no denoiser, but a latent upscaler.
        RuntimeUnavailableError: this machine has no such runtime or device.
    """
    choice = Choice.parse(runtime, precision)
    facts = verify(name, weights)
    prepared = prepare(facts, choice, device)
    if prepared is not None:
        denoiser = prepared.denoiser(device)
        if denoiser is not None:
            return denoiser
    loaded = _open_verified(facts)
    chosen = choose_device(device)
    built = tiled(loaded, device=chosen, runtime=runtime, precision=precision, digest=loaded.info.digest)
    if loaded.family != ONNX:  # which is its own graph
        note(facts, choice, loaded, built)
    return built


def open_prior(name: str | None = None, weights: Path = WEIGHTS) -> LoadedPrior:
    """An installed prior's network and facts, its files verified first; nothing runs it yet.

    Args:
        name: of the prior; None for the default one.
        weights: folder of the registry.

    Raises:
        UnknownPriorError: no such prior.
        NotPulledError: it is known, but not on this machine.
        CorruptWeightsError: a file is missing or is not the registered one.
    """
    return _open_verified(verify(name, weights))


def _open_verified(facts: PriorFacts) -> LoadedPrior:
    if facts.scale is not None:
        raise UnsupportedNetworkError(
            f"{facts.name} is a latent upscaler, no denoiser of pictures: it only enlarges, {facts.scale} times"
        )
    from models.loaders.loaded import LoadOptions

    options = LoadOptions.parse(facts.options)
    single = len(facts.files) == 1 or not any(Path(file).name == CONFIG_FILE for file in facts.files)
    loaded = open_folder(
        facts.folder / facts.weights_file if single else facts.folder,
        name=facts.name,
        options=options,
        table=facts.folder / TABLE_FILE,
    )
    return replace(loaded, info=replace(loaded.info, digest=facts.digest))
