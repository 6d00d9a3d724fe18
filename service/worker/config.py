"""What a worker is told once, when it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from restore.images.limits import SERVICE_LIMITS, Limits

if TYPE_CHECKING:
    from service.settings import Settings


@dataclass(frozen=True)
class WorkerConfig:
    """Crosses to the worker's process as JSON; see `service.settings.Settings` for the fields of the same name.

    Attributes:
        device: "cpu", "cuda:0", ...
        blob_url: what `service.blobs` opens.
        prior: of tickets that name none; None for the embedded one.
        prior_memory: bytes that loaded priors may take; half of the device's memory when None.
        stage_seconds: a worker in which decoding, encoding or one data step takes longer is replaced.
        loader: "FILE.py:FUNCTION" that loads priors instead of `restore.prior.load_prior`, with the same arguments. For
            tests (priors that are slow, crash, run out of memory, ...): no setting and no request leads here.
    """

    device: str
    blob_url: str
    prior: str | None = None
    runtime: str = "auto"
    bench: bool = False
    max_batch: int = 8
    tile: int | None = None
    threads: int | None = None
    jobs_at_once: int = 16
    max_bytes: int = SERVICE_LIMITS.max_bytes
    max_pixels: int = SERVICE_LIMITS.max_pixels
    max_output_pixels: int = SERVICE_LIMITS.max_output_pixels
    max_side: int = SERVICE_LIMITS.max_side
    stage_seconds: float = 600.0
    prior_memory: int | None = None
    log_level: str = "info"
    log_format: str = "json"
    loader: str = ""

    @classmethod
    def of(cls, settings: Settings, device: str, blob_url: str, loader: str = "") -> WorkerConfig:
        """What a server tells the worker of a device."""
        same = {f.name for f in fields(cls)} & set(type(settings).model_fields)
        return cls(
            device=device,
            blob_url=blob_url,
            loader=loader,
            **{name: getattr(settings, name) for name in same - {"blob_url"}},
        )

    @property
    def limits(self) -> Limits:
        """The picture limits, as the core takes them."""
        return Limits(self.max_pixels, self.max_output_pixels, self.max_side, self.max_bytes)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WorkerConfig:
        """What `to_json` gave."""
        return cls(**{f.name: data[f.name] for f in fields(cls)})
