"""An exported file checked against the original, and the report beside it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import ParityError
from models.parity import Parity, Tolerance
from models.runtime import cache
from models.writing import write_whole
from restore.errors import OutputError
from restore.prior.protocol import PriorInfo

#: Distributions that the numbers of a report depend on.
VERSIONS = (*cache.EXPORTERS, "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "pellucid")


def report_path(path: Path) -> Path:
    """Where the report of an exported file lies."""
    return path.with_name(f"{path.name}.json")


def refuse_outside(parity: Parity, tolerance: Tolerance, what: str) -> None:
    """Refuse an export that answers otherwise than the original.

    Raises:
        ParityError: at some level or size it is beyond the tolerance; the worst one is named.
    """
    failures = parity.failures(tolerance)
    if failures:
        # NaN first: it is worse than any number, and does not compare.
        worst = min(failures, key=lambda found: found.psnr_change if found.psnr_change == found.psnr_change else -1e9)
        raise ParityError(
            f"{what} does not answer as torch does at sigma {worst.sigma:g}: rms {worst.rms_error:.3g} (0-255), "
            f"{-worst.psnr_change:.3f} dB lost; allowed {tolerance.rms:g} and {tolerance.psnr:g} dB"
        )


def describe(data: bytes, info: PriorInfo, kind: str, precision: str, parity: Parity, **more: Any) -> dict[str, Any]:
    """The report: which file, of what, how far from the original.

    Args:
        data: the exported file.
        info: facts of the prior.
        kind: "onnx" or "tensorrt".
        precision: of the file.
        parity: what was measured.
        more: what else is to be said.
    """
    return {
        "format": kind,
        "precision": precision,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "prior": {
            "name": info.name,
            "digest": info.digest,
            "channels": info.channels,
            "multiple_of": info.multiple_of,
            "native_size": info.native_size,
            "sigma_min": info.sigma_min,
            "sigma_max": info.sigma_max,
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": cache.versions(*VERSIONS),
        "psnr_lost": {f"{level:g}": round(lost, 5) for level, lost in parity.by_level().items()},
        "parity": parity.record(),
        **more,
    }


def write_all(path: Path, data: bytes, report: dict[str, Any]) -> None:
    """Write an exported file and its report; neither is there half-written.

    Raises:
        OutputError: they cannot be written.
    """
    for target, content in ((path, data), (report_path(path), (json.dumps(report, indent=2) + "\n").encode())):
        try:
            write_whole(target, content)
        except OSError as error:
            raise OutputError(f"{target} cannot be written ({error.strerror})") from error
