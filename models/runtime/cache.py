"""The private folder of exported networks, engines and measurements: this user's, and nobody else's.

What lies there is loaded without further questions, so nobody else may write there. Every network file has a
description beside it with its sha256, written after it; a file without one does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.runtime.onnx_files import read_bytes
from models.writing import write_whole
from restore.errors import PriorError, RuntimeUnavailableError

if TYPE_CHECKING:
    from torch import nn

#: Names another folder than the platform's folder for caches.
VARIABLE = "PELLUCID_CACHE"
#: Distributions that decide how fast a runtime is and what it answers.
DISTRIBUTIONS = ("pellucid", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")
#: Distributions that an exported graph depends on.
EXPORTERS = ("torch", "onnx", "onnxscript", "diffusers")


def _place() -> Path:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("pellucid") / "runtimes"


def folder(part: str) -> Path:
    """A folder inside the private one, to write in; made where it is missing.

    Raises:
        RuntimeUnavailableError: it cannot be made, or belongs to somebody else.
    """
    place = _place()
    for path in (place, place / part):
        _make_private(path)
    return place / part


def existing(part: str) -> Path | None:
    """A folder inside the private one, to read from; None when it is not there, or when others may write in it."""
    place = _place()
    try:
        private = all(_is_private(path.lstat()) for path in (place, place / part))
    except OSError:
        return None
    return place / part if private else None


def _is_private(status: os.stat_result) -> bool:
    own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return own and stat.S_ISDIR(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o022


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise RuntimeUnavailableError(f"{path} belongs to another user; set {VARIABLE} to a folder of your own")
        if not stat.S_ISDIR(status.st_mode):
            raise RuntimeUnavailableError(f"{path} is no folder; set {VARIABLE} to one")
        if stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise RuntimeUnavailableError(f"{path} cannot be used ({error.strerror}); set {VARIABLE} elsewhere") from error


def fingerprint(network: nn.Module) -> str:
    """sha256 in hexadecimal of everything that decides a network's answers: weights, structure, plain settings."""
    import torch

    digest = hashlib.sha256(repr(network).encode())
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if _plain(value) and key != "training"}
        digest.update(f"{name}:{type(module).__qualname__}:{sorted(settings.items())}".encode())
    buffers = dict(network.named_buffers())
    for name, tensor in {**dict(network.named_parameters()), **buffers}.items():
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        if tensor.numel():
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str | bool)


def versions(*distributions: str) -> dict[str, str]:
    """Distribution -> version, of those that are installed."""
    found = {}
    for distribution in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[distribution] = metadata.version(distribution)
    return found


def key(**facts: Any) -> str:
    """A short name for facts: equal facts, equal name."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def write(path: Path, data: bytes) -> None:
    """Write a file of the private folder, readable by its owner only and complete from the first moment it is there.

    Raises:
        RuntimeUnavailableError: it cannot be written.
    """
    try:
        write_whole(path, data, private=True)
    except OSError as error:
        raise RuntimeUnavailableError(f"{path} cannot be written ({error.strerror}); set {VARIABLE}") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object of the private folder; None when it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object; see `write`."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def graph_name(mark: str, precision: str) -> str:
    """What the exported graph of a network is called.

    Args:
        mark: its fingerprint.
        precision: of the graph.
    """
    return f"{key(network=mark, precision=precision, versions=versions(*EXPORTERS))}-{precision}.onnx"


def stored(part: str, name: str) -> tuple[bytes, dict[str, Any]] | None:
    """A file that was kept before and what is known of it; None when there is none, or it was damaged."""
    place = existing(part)
    if place is None:
        return None
    path = place / name
    facts = read_json(path.with_suffix(".json"))
    if facts is None:
        return None
    try:
        return read_bytes(path, str(facts.get("sha256", ""))), facts
    except PriorError:
        return None


def store(part: str, name: str, data: bytes, facts: dict[str, Any]) -> None:
    """Keep a file: first itself, then its description with the sha256."""
    path = folder(part) / name
    write(path, data)
    write_json(path.with_suffix(".json"), {**facts, "sha256": hashlib.sha256(data).hexdigest()})


def stored_graph(mark: str, precision: str) -> tuple[bytes, dict[str, Any]] | None:
    """The exported graph of a network; see `graph_name` and `stored`."""
    return stored("graphs", graph_name(mark, precision))


def store_graph(mark: str, precision: str, data: bytes, facts: dict[str, Any]) -> None:
    """Keep the exported graph of a network; see `graph_name` and `store`."""
    store("graphs", graph_name(mark, precision), data, facts)
