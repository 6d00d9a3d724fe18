"""Where a JSON body's picture comes from: exactly one of three, told apart by the field's name."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from service.schemas.base import Given

#: Characters of base64, a line break here and there included; decoding them is stricter.
BASE64 = r"^[A-Za-z0-9+/=\r\n]+$"


class Inline(Given):
    """The encoded picture itself."""

    b64: str = Field(min_length=1, json_schema_extra={"contentEncoding": "base64", "format": "picture"})
    """The file in base64 (RFC 4648, section 4)."""


class Remote(Given):
    """A picture to be fetched; refused unless the server allows URL sources."""

    url: str = Field(min_length=8, max_length=2048, pattern=r"^https?://", examples=["https://example.org/in.jpg"])
    """Address of the file."""


class Uploaded(Given):
    """A picture sent before with POST /v1/uploads."""

    upload_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    """The id that the upload was answered with."""


def _kind(value: Any) -> str | None:
    held = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Given) else {}
    return next((key for key in ("b64", "url", "upload_id") if key in held), None)


Source = Annotated[
    Annotated[Inline, Tag("b64")] | Annotated[Remote, Tag("url")] | Annotated[Uploaded, Tag("upload_id")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message='give one of {"b64": ...}, {"url": ...} and {"upload_id": ...}',
    ),
]

#: gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE, in pixels and degrees.
KERNEL_FORM = re.compile(
    r"^(gaussian:\d{1,2}(\.\d{1,3})?|defocus:\d{1,2}(\.\d{1,3})?|motion:\d{1,2}(\.\d{1,3})?:-?\d{1,3}(\.\d{1,3})?)$"
)
#: A larger blur than any camera's; the restoration's memory grows with it.
MAX_KERNEL = 129

Row = Annotated[list[Annotated[float, Field(ge=0.0, le=1e6)]], Field(min_length=1, max_length=MAX_KERNEL)]
Rows = Annotated[list[Row], Field(min_length=1, max_length=MAX_KERNEL)]
Form = Annotated[str, Field(pattern=KERNEL_FORM.pattern, max_length=32)]
