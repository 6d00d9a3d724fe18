"""Uploads: pictures sent ahead of the jobs that use them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from service.jobs.model import Upload
from service.schemas.base import Answered


class UploadResource(Answered):
    """An upload."""

    upload_id: str
    """For {"image": {"upload_id": ...}} in any number of requests."""
    media_format: str = Field(examples=["jpeg"])
    """As found in its bytes."""
    width: int = Field(ge=1)
    """Upright, in pixels."""
    height: int = Field(ge=1)
    """Upright, in pixels."""
    bytes: int = Field(ge=1)
    """Length of the file."""
    sha256: str
    """Of the file, in hexadecimal."""
    created_at: datetime
    """When it came."""
    expires_at: datetime
    """When it will be forgotten."""

    @classmethod
    def of(cls, upload: Upload) -> UploadResource:
        """A stored upload."""
        return cls(
            upload_id=upload.id, media_format=upload.format, width=upload.width, height=upload.height,
            bytes=upload.size, sha256=upload.sha256, created_at=upload.created_at, expires_at=upload.expires_at,
        )  # fmt: skip
