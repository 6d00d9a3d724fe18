"""The web page at /: its files, held in memory, with a strict Content-Security-Policy and revalidation."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from restore.images.signature import READABLE
from service.http.budget import CALLS
from service.problems import Code, Problem
from service.settings import Settings

#: The page asks for no key, and is no part of the API's description.
router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "web"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}

#: Nothing from elsewhere, nothing inline, no text turned into HTML; pictures also from the page's own memory.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, but asked for again each time: after an update no browser mixes old files with new ones.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True)
class File:
    """A file of the page, as it is sent: as it is, or with gzip."""

    body: bytes
    zipped: bytes
    digest: str
    media_type: str

    @classmethod
    def read(cls, path: Path) -> File:
        """From disk."""
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(body, gzip.compress(body, 9, mtime=0), digest, TYPES[path.suffix])


class Page:
    """The page's files by path: "" for the page itself, "web/..." for what it loads."""

    def __init__(self, folder: Path = FOLDER) -> None:
        names = {path: path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in TYPES}
        self.files = {"" if name == "index.html" else f"web/{name}": File.read(path) for path, name in names.items()}

    def answer(self, name: str, request: Request) -> Response:
        """A file, compressed where the client takes that, or 304 where it has it already.

        Raises:
            Problem: NOT_FOUND.
        """
        found = self.files.get(name)
        if found is None:
            raise Problem(Code.NOT_FOUND, "there is nothing at this path")
        zipped = _takes_gzip(request.headers.get("accept-encoding", ""))
        headers = HEADERS | {"ETag": f'"{found.digest}{"-gzip" if zipped else ""}"'}
        known = request.headers.get("if-none-match", "").split(",")
        if headers["ETag"] in [tag.strip().removeprefix("W/") for tag in known]:
            return Response(None, 304, headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(found.zipped if zipped else found.body, 200, headers, found.media_type)


@cache
def page() -> Page:
    """Read at the first request, once a process."""
    return Page()


def _takes_gzip(header: str) -> bool:
    for item in header.split(","):
        coding, *parameters = (part.strip().lower() for part in item.split(";"))
        if coding == "gzip":
            return "q=0" not in [p.replace(" ", "").removesuffix(".0").removesuffix(".00") for p in parameters]
    return False


def about(settings: Settings) -> dict[str, object]:
    """What the page must know before anything is sent: limits, formats, default steps, whether a key is needed."""
    limits = ("max_bytes", "max_pixels", "max_output_pixels", "max_side", "max_work")
    return {
        "auth": settings.keys_required,
        "formats": [name.lower() for name in READABLE],
        "limits": {name: getattr(settings, name) for name in limits},
        "steps": {task: {"mean": mean, "sample": sample} for task, (mean, sample) in CALLS.items()},
    }


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page itself."""
    return page().answer("", request)


@router.api_route("/web/about.json", methods=["GET", "HEAD"])
async def about_server(request: Request) -> Response:
    """What the page must know of this server."""
    body = json.dumps(about(request.app.state.settings))
    return Response(body, 200, HEADERS | {"Cache-Control": "no-store"}, "application/json")


@router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
async def file(path: str, request: Request) -> Response:
    """What the page loads."""
    return page().answer(f"web/{path}", request)
