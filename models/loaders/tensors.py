"""Reading the tensors of a checkpoint file, never running what it holds.

Two formats are read: safetensors, and PyTorch's zip or legacy format through `torch.load(weights_only=True)`, which
builds tensors and plain containers only. The content decides, and must agree with the name's ending.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from models.errors import (
    MislabelledWeightsError,
    TruncatedWeightsError,
    UnsafeWeightsError,
    UnsupportedNetworkError,
    WrongShapeError,
)
from restore.errors import CorruptWeightsError

Format = Literal["safetensors", "torch"]

TORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
#: A safetensors header is JSON behind its length in 8 bytes; the format's own limit is 100 MB.
LARGEST_HEADER = 100_000_000
#: Containers in which training scripts wrap a state dict, the averaged weights first.
WRAPPERS = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict", "model_state_dict", "model", "net", "unet")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        path: of the file.
        format: what its content is.
        tensors: name -> tensor, as stored; parts of the file stay mapped from disk until they are used.
        metadata: of a safetensors header.
    """

    path: Path
    format: Format
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors in a file.

    Raises:
        TruncatedWeightsError: it is shorter than it says.
        MislabelledWeightsError: its content is not what its name says.
        UnsafeWeightsError: it holds more than tensors.
        CorruptWeightsError: it cannot be read, or is no checkpoint.
    """
    found = sniff(path)
    says = "safetensors" if path.suffix == ".safetensors" else "torch" if path.suffix in TORCH_ENDINGS else found
    if says != found:
        better = ".safetensors" if found == "safetensors" else ".pt"
        raise MislabelledWeightsError(
            f"{path} is named {path.suffix} but holds a {found} checkpoint; if you trust where it came from, "
            f"rename it to {path.stem}{better}"
        )
    if found == "safetensors":
        tensors, metadata = _read_safetensors(path)
        return Checkpoint(path, found, tensors, metadata)
    return Checkpoint(path, found, _state_dict(path, _read_torch(path)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of `read_checkpoint`, of all the parts when `path` is a sharded checkpoint's index.

    Raises:
        CorruptWeightsError: and its kinds, see `read_checkpoint`; a part that is missing is named.
    """
    if not path.name.endswith(".index.json"):
        return read_checkpoint(path).tensors
    try:
        places: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        parts = sorted(set(places.values()))
        inside = all(Path(part).name == part for part in parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptWeightsError(f"{path} is no index of a checkpoint ({error}); fetch it again") from error
    if not inside:
        raise CorruptWeightsError(f"{path} names parts outside its folder; fetch it again")
    tensors: dict[str, Tensor] = {}
    for part in parts:
        tensors |= read_checkpoint(path.parent / part).tensors
    if missing := places.keys() - tensors.keys():
        raise CorruptWeightsError(f"{path} names {sorted(missing)[0]!r}, which none of its parts holds; fetch it again")
    return tensors


def sniff(path: Path) -> Format:
    """Which format a file's content is in, by its first bytes.

    Raises:
        CorruptWeightsError: it cannot be read, is empty, or is neither format.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error.strerror or error}); fetch it again") from error
    if not head:
        raise TruncatedWeightsError(f"{path} is empty; fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise MislabelledWeightsError(f"{path} is a Git LFS pointer, not the weights; run git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise MislabelledWeightsError(f"{path} is a web page, not a checkpoint; fetch the file itself")
    if head[:4] == b"PK\x03\x04":
        return "torch"
    # Before the pickle: the length of a header may begin with a pickle's first byte.
    if len(head) > 8 and 0 < int.from_bytes(head[:8], "little") <= LARGEST_HEADER and head[8:9] == b"{":
        return "safetensors"
    if head[:1] == b"\x80":
        return "torch"
    raise CorruptWeightsError(f"{path} is neither safetensors nor a PyTorch checkpoint; fetch it again")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 8 + length <= size else None
        if header is not None:
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            header = header if 8 + length + max(ends, default=0) <= size else None
        if header is None:
            raise TruncatedWeightsError(f"{path} ends before its header says ({size} bytes); fetch it again")
        with safe_open(str(path), "pt") as source:
            metadata = dict(source.metadata() or {})
            return {key: source.get_tensor(key) for key in source.keys()}, metadata  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise CorruptWeightsError(f"{path} is a damaged safetensors file ({error}); fetch it again") from error


def _read_torch(path: Path) -> Any:
    with path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    try:
        if zipped and not zipfile.is_zipfile(path):
            # The directory of a zip file is at its end.
            raise TruncatedWeightsError(
                f"{path} ends before its directory ({path.stat().st_size} bytes); fetch it again"
            )
        with warnings.catch_warnings():
            # torch comments on unusual pickles before it refuses them.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except CorruptWeightsError:
        raise
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)", str(error))
        what = next((name for name in refused.groups() if name), None) if refused else None
        if what is None and ("Weights only load failed" not in str(error) or "invalid load key" in str(error)):
            raise CorruptWeightsError(f"{path} is a damaged PyTorch checkpoint; fetch it again") from error
        raise UnsafeWeightsError(
            f"{path} holds more than tensors ({what or 'pickled objects'}) and would run code; it was not opened. "
            "Ask its author for safetensors, or export the state dict where you trust the file"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        kind = TruncatedWeightsError if isinstance(error, EOFError) or "unexpected EOF" in str(error) else None
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise (kind or CorruptWeightsError)(
            f"{path} is a damaged PyTorch checkpoint ({first}); fetch it again"
        ) from error
    except Exception as error:
        raise CorruptWeightsError(
            f"{path} is no PyTorch checkpoint ({type(error).__name__}); fetch it again"
        ) from error


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict inside whatever a training script saved, without the prefixes of parallel training."""
    for _ in range(3):
        if not isinstance(content, Mapping) or any(isinstance(value, Tensor) for value in content.values()):
            break
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    if not isinstance(content, Mapping):
        raise UnsupportedNetworkError(f"{path} holds no state dict (name -> tensor); save one with torch.save")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return without_prefix(tensors, "module.", "_orig_mod.")


def without_prefix(tensors: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The same tensors, each prefix cut off where every name has it."""
    for prefix in prefixes:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def fill(network: torch.nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Give a network built on the "meta" device its weights, in float32, without a second copy of them.

    Raises:
        WrongShapeError: names or shapes differ from the network's; the first of them are named.
    """
    wanted = network.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is not part of it" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {list(tensors[name].shape)} instead of {list(value.shape)}"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WrongShapeError(
            f"{source} does not fit the {type(network).__name__} it describes: {'; '.join(problems[:3])}{more}; "
            "the file is damaged or of a variant that is not known"
        )
    network.load_state_dict({name: tensors[name].to(torch.float32) for name in wanted}, assign=True)
    network.eval().requires_grad_(False)
    if not all(bool(torch.isfinite(value).all()) for value in network.parameters()):
        raise CorruptWeightsError(f"{source} holds weights that are not finite; fetch it again")
