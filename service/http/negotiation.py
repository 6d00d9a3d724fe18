"""Which of the five answers a client wants: Accept (RFC 9110, section 12.5.1) and Prefer (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.problems import Code, Problem

JSON = "application/json"
EVENTS = "text/event-stream"

#: Media types of results, the ones that keep every bit first.
IMAGES: Mapping[str, str] = {
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "jpeg": "image/jpeg",
    "avif": "image/avif",
}

#: An Idempotency-Key: visible ASCII without quotation marks. The draft standard writes it as a quoted string and leaves
#: the length open; clients mostly leave the quotes out, and UUIDs have 36 characters.
KEY_PATTERN = r'^("[!#-~]{1,255}"|[!#-~]{1,255})$'

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"^({_TOKEN})/({_TOKEN})$")
_Q = re.compile(r"^(0(\.\d{0,3})?|1(\.0{0,3})?)$")
_PREFERENCE = re.compile(rf'^({_TOKEN})(?:\s*=\s*("[^"\\]*"|{_TOKEN}))?')


class Kind(StrEnum):
    """What an answer's body is."""

    IMAGE = "image"
    JSON = "json"
    EVENTS = "events"


class Accept:
    """A parsed Accept header.

    Args:
        header: its value; None or nothing means that everything is taken.

    Raises:
        Problem: MALFORMED_REQUEST.
    """

    def __init__(self, header: str | None) -> None:
        self._ranges: list[tuple[str, str, float]] = []
        for item in (header or "*/*").split(","):
            media, *parameters = (part.strip() for part in item.split(";"))
            if not media:
                continue
            match = _RANGE.match(media.lower())
            if not match:
                raise Problem(Code.MALFORMED_REQUEST, "the Accept header is not a list of media types")
            q = 1.0
            for parameter in parameters:
                name, _, value = parameter.partition("=")
                if name.strip().lower() == "q":
                    if not _Q.match(value.strip()):
                        raise Problem(Code.MALFORMED_REQUEST, "a q value in the Accept header is not between 0 and 1")
                    q = float(value)
            self._ranges.append((match[1], match[2], q))
        if not self._ranges:
            self._ranges = [("*", "*", 1.0)]

    def q(self, media_type: str) -> float:
        """How much a media type is wanted; the most specific range decides."""
        kind, _, sub = media_type.partition("/")
        best, specific = 0.0, -1
        for range_kind, range_sub, q in self._ranges:
            if (range_kind, range_sub) == (kind, sub):
                score = 2
            elif range_kind == kind and range_sub == "*":
                score = 1
            elif (range_kind, range_sub) == ("*", "*"):
                score = 0
            else:
                continue
            if score > specific or (score == specific and q > best):
                best, specific = q, score
        return best

    def kind(self, default: Kind) -> Kind:
        """The most wanted kind of answer; `default` wins ties.

        Raises:
            Problem: NOT_ACCEPTABLE.
        """
        wanted = {
            Kind.IMAGE: max(self.q(media) for media in IMAGES.values()),
            Kind.JSON: self.q(JSON),
            Kind.EVENTS: self.q(EVENTS),
        }
        best = max(wanted.values())
        if best == 0.0:
            raise Problem(Code.NOT_ACCEPTABLE, f"answers are {', '.join([*IMAGES.values(), JSON, EVENTS])}")
        if wanted[default] == best:
            return default
        return next(kind for kind, q in wanted.items() if q == best)

    def image_format(self, native: str, asked: str | None) -> str:
        """The format of a picture in the answer: the one asked for, else the most wanted, the given picture's first.

        Raises:
            Problem: NOT_ACCEPTABLE, the format asked for is one that Accept rules out.
        """
        if asked is not None:
            if self.q(IMAGES[asked]) == 0.0:
                raise Problem(
                    Code.NOT_ACCEPTABLE, f"output_format={asked}, but the Accept header rules out {IMAGES[asked]}"
                )
            return asked
        wanted = {name: self.q(media) for name, media in IMAGES.items()}
        best = max(wanted.values())
        if wanted.get(native) == best:
            return native
        return next(name for name, q in wanted.items() if q == best)


@dataclass(frozen=True)
class Prefer:
    """A parsed Prefer header; unknown and malformed preferences count as not given (RFC 7240, section 2).

    Attributes:
        respond_async: answer 202 at once.
        wait: seconds to wait at most before 202.
    """

    respond_async: bool = False
    wait: int | None = None

    @classmethod
    def parse(cls, header: str | None) -> Prefer:
        """From the header's value, several ones joined by commas."""
        respond_async, wait = False, None
        for item in (header or "").split(","):
            match = _PREFERENCE.match(item.strip())
            if not match:
                continue
            name, value = match[1].lower(), (match[2] or "").strip('"')
            if name == "respond-async":
                respond_async = True
            elif name == "wait" and wait is None and value.isascii() and value.isdigit() and len(value) < 7:
                wait = int(value)
        return cls(respond_async, wait)

    def seconds(self, longest: float) -> float:
        """How long a synchronous answer may take; 0 for an asynchronous one."""
        if self.wait is not None:
            return min(float(self.wait), longest)
        return 0.0 if self.respond_async else longest

    def applied(self) -> str | None:
        """The value of Preference-Applied."""
        names = ["respond-async"] if self.respond_async else []
        if self.wait is not None:
            names.append(f"wait={self.wait}")
        return ", ".join(names) or None
