"""Pictures in and out: decode and encode without damaging what was not to be changed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.images.decoding import ImageSource, decode
    from restore.images.encoding import encode, to_array, to_pil
    from restore.images.formats import format_of
    from restore.images.limits import LIBRARY_LIMITS, SERVICE_LIMITS, Limits
    from restore.images.picture import Picture
    from restore.images.saving import encode_map, save, save_map
    from restore.images.signature import sniff
    from restore.images.writing import write_atomically

__all__ = [
    "LIBRARY_LIMITS",
    "SERVICE_LIMITS",
    "ImageSource",
    "Limits",
    "Picture",
    "decode",
    "encode",
    "encode_map",
    "format_of",
    "save",
    "save_map",
    "sniff",
    "to_array",
    "to_pil",
    "write_atomically",
]

_HOMES = {
    "decode": "decoding", "ImageSource": "decoding", "encode": "encoding", "to_array": "encoding", "to_pil": "encoding",
    "LIBRARY_LIMITS": "limits", "SERVICE_LIMITS": "limits", "Limits": "limits", "Picture": "picture",
    "encode_map": "saving", "format_of": "formats", "save": "saving", "save_map": "saving",
    "sniff": "signature", "write_atomically": "writing",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use: limits and settings must not cost torch and the codecs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
