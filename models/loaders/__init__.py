"""Checkpoints of diffusion models, from files to modules: pure functions without a registry, a network or a guess.

`load` finds out what a file or folder holds. It gives a `LoadedPrior`: the module that `models.runtime.build` takes,
facts, and in plain sentences what was read and what was assumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UnsupportedNetworkError
from restore.errors import CorruptWeightsError

if TYPE_CHECKING:
    from models.loaders.loaded import LoadedPrior, LoadOptions

__all__ = ["load"]

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def load(path: Path, name: str | None = None, options: LoadOptions | None = None) -> LoadedPrior:
    """The prior in a file or folder.

    Args:
        path: a folder of diffusers, of this package or with one checkpoint in it; or a checkpoint: safetensors,
            PyTorch's format without code, or an ONNX file of a denoiser.
        name: reported in its facts; the file's when None.
        options: what the checkpoint does not say.

    Raises:
        CorruptWeightsError: missing, damaged, truncated, mislabelled or of wrong shapes; the kinds are in
            `models.errors`.
        UnsafeWeightsError: it holds code.
        UnsupportedNetworkError: no network that can be a prior here.
        ParameterError: an option that this network does not have.
    """
    from models.loaders.loaded import LoadOptions

    options = LoadOptions() if options is None else options
    name = (path.stem if path.is_file() else path.name) if name is None else name
    if path.is_dir():
        return _load_folder(path, name, options)
    if not path.exists():
        raise CorruptWeightsError(f"there is no file or folder {path}")
    return _load_file(path, name, options)


def _load_folder(folder: Path, name: str, options: LoadOptions) -> LoadedPrior:
    from models.loaders import converted, diffusers_folder

    places = diffusers_folder.find(folder)
    if places is None:
        files = sorted(path for path in folder.iterdir() if path.suffix in CHECKPOINTS)
        if len(files) == 1:
            return _load_file(files[0], name, options)
        what = ", ".join(path.name for path in files[:5]) or "no checkpoint"
        raise CorruptWeightsError(f"{folder} has no config.json and {what}; name one file")
    kind = diffusers_folder.read_config(places[0]).get("_class_name")
    if kind in converted.NETWORKS:
        return converted.load(places[0].parent, name, options)
    if kind == "DenoisingUNet":
        return _load_embedded(places[0].parent, name)
    return diffusers_folder.load(folder, name, options)


def _load_embedded(folder: Path, name: str) -> LoadedPrior:
    from models.denoiser import network_info
    from models.loaders.embedded import CONFIG_FILE, WEIGHTS_FILE, load_network
    from models.loaders.loaded import LoadedPrior

    network = load_network(folder).eval().requires_grad_(False)
    info = network_info(network, name)
    return LoadedPrior(
        network, info, "DenoisingUNet", sum(p.numel() for p in network.parameters()), "edm", "continuous noise levels",
        (folder / CONFIG_FILE, folder / WEIGHTS_FILE), ("a prior trained by pellucid",), (), {}, network,
    )  # fmt: skip


def _load_file(path: Path, name: str, options: LoadOptions) -> LoadedPrior:
    from models.loaders import diffusers_folder, edm, openai
    from models.loaders.tensors import read_checkpoint

    if path.suffix == ".onnx":
        from models.loaders import onnx_file

        return onnx_file.load(path, name, options)
    if path.name in diffusers_folder.WEIGHTS and (path.parent / diffusers_folder.CONFIG).is_file():
        return _load_folder(path.parent, name, options)
    checkpoint = read_checkpoint(path)
    if openai.matches(checkpoint.tensors):
        return openai.load(checkpoint.tensors, path, name, options)
    if edm.matches(checkpoint.tensors):
        return edm.load(checkpoint.tensors, path, name, options, checkpoint.metadata)
    if "conv_in.weight" in checkpoint.tensors:
        raise UnsupportedNetworkError(
            f"{path} holds weights of diffusers without their config.json; give the folder that has both"
        )
    some = ", ".join(sorted(checkpoint.tensors)[:3]) or "nothing"
    raise UnsupportedNetworkError(
        f"{path} is of no layout that is known (diffusers, guided-diffusion, improved-diffusion, consistency models, "
        f"EDM); it holds {some}"
    )
