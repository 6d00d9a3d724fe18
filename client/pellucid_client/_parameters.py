"""What may be said about a restoration: names and ranges are those of the library and the command line.

Keyword arguments are typed with `Unpack`, so that an editor and a type checker know them, once for both clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from pellucid_client._models import Event
    from pellucid_client._sources import KernelSource, MaskSource

Task = Literal[
    "auto", "denoise", "super-resolve", "low-light-enhance", "deblur", "inpaint", "colorize", "dejpeg"
]  # fmt: skip
Format = Literal["png", "jpeg", "webp", "tiff", "avif"]
Priority = Literal["interactive", "batch"]


class CallOptions(TypedDict, total=False):
    """About the call itself; nothing of it changes the picture.

    Attributes:
        timeout: seconds for the whole call, retries included; None for no end. Default: the client's.
        max_retries: how often it is sent again. Default: the client's.
        idempotency_key: names this restoration: a second call with the same key and picture gets the first one's
            result. Default: a new one for each call, kept over its retries.
        extra_headers: sent along.
    """

    timeout: float | None
    max_retries: int
    idempotency_key: str
    extra_headers: Mapping[str, str]


class CommonOptions(CallOptions, total=False):
    """What every task takes. What is left out is decided by the server and told in the report.

    Attributes:
        fidelity: 1: the least distortion, a posterior mean; 0: a posterior sample, sharper and less certain.
            Default: 1, or 0 with several samples.
        steps: calls of the prior, 1 to 1000. Default: the task's.
        samples: posterior samples, 1 to 64; their mean is the result, their spread the uncertainty. Default: 1.
        strength: blend of the restored (1) with the given picture (0). Default: 1.
        seed: same seed, same picture. Default: 0.
        prior: name of an installed prior; `client.models.list()` knows them. Default: the server's.
        output_format: of the result. Default: the given picture's.
        output_quality: 1 to 100, of a lossy format.
        keep_gps: keep the place in the metadata; it is removed otherwise.
        priority: "batch" lets interactive work go first.
        previews: whether "preview" events are made.
        webhook: https address told of the job's end.
        on_event: called with every event of the job while the call waits; see `Event`. An exception of it cancels the
            job.
    """

    fidelity: float
    steps: int
    samples: int
    strength: float
    seed: int
    prior: str
    output_format: Format
    output_quality: int
    keep_gps: bool
    priority: Priority
    previews: bool
    webhook: str
    on_event: Callable[[Event], object]


class DenoiseOptions(CommonOptions, total=False):
    """Of `denoise` and `colorize`.

    Attributes:
        noise: standard deviation of the noise on the 0-255 scale, or "auto" to estimate it. Default: "auto".
    """

    noise: float | Literal["auto"]


class SuperResolveOptions(DenoiseOptions, total=False):
    """Of `super_resolve`.

    Attributes:
        scale: enlargement: 2, 3, 4 or 8. Default: 4.
    """

    scale: Literal[2, 3, 4, 8]


class LowLightOptions(DenoiseOptions, total=False):
    """Of `low_light_enhance`.

    Attributes:
        exposure: brightening in stops, -2 to 8, or "auto". Default: "auto".
    """

    exposure: float | Literal["auto"]


class DejpegOptions(CommonOptions, total=False):
    """Of `dejpeg`.

    Attributes:
        quality: 1 to 100, of the JPEG compression to undo, or "auto" to read it from the file. Default: "auto".
    """

    quality: int | Literal["auto"]


class RestoreOptions(SuperResolveOptions, LowLightOptions, DejpegOptions, total=False):
    """Everything, for `restore` and `submit`; the server refuses what the task does not take.

    Attributes:
        kernel: of `deblur`.
        mask: of `inpaint`.
    """

    kernel: KernelSource
    mask: MaskSource


#: What goes into the request as it is, under the same name.
SENT = (
    "noise", "scale", "fidelity", "steps", "samples", "strength", "seed", "quality", "exposure", "prior",
    "output_format", "output_quality", "keep_gps", "priority", "previews", "webhook",
)  # fmt: skip
