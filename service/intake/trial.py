"""What the decoding process does with one picture; kept apart from how it is asked, and from the server."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from restore.errors import ImageError, ImageSizeError, ImageValueError
from restore.images import sniff
from restore.images.limits import Limits
from restore.images.trial import try_decoding
from service.intake import headers
from service.problems import Code, Problem


def examine(data: bytes, limits: dict[str, int], name: str) -> dict[str, Any]:
    """The facts of a picture, or why it is refused, JSON-ready.

    Args:
        data: the file.
        limits: fields of `restore.images.Limits`.
        name: what to call it in messages.

    Returns:
        {"facts": fields of `restore.images.trial.Facts`} or {"code", "detail"}.
    """
    try:
        headers.check(data, sniff(data, name), name)
        facts = try_decoding(data, Limits(**limits), name)
        if facts.frames > 1 and facts.format != "tiff":  # a TIFF's thumbnails are frames to the decoder
            raise headers.too_many_frames(name)
    except Problem as problem:
        return {"code": problem.code, "detail": problem.detail}
    except ImageError as error:
        return {"code": _code(error), "detail": str(error)}
    except MemoryError:
        return {"code": Code.UNDECODABLE_IMAGE, "detail": f"{name}: decoding it takes more memory than is allowed"}
    return {"facts": asdict(facts)}


def _code(error: ImageError) -> Code:
    if isinstance(error, ImageSizeError):
        return Code.IMAGE_SIZE
    return Code.IMAGE_VALUES if isinstance(error, ImageValueError) else Code.UNDECODABLE_IMAGE
