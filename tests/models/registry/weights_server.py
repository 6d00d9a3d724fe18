"""A real server of files on a real socket, which can be told to behave badly."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class WeightsServer:
    """Serves a folder with ranges and ETags.

    Attributes:
        requests: (path, Range header or None) of every request.
        cut: a connection ends after so many bytes of the body, `cuts` times.
        pause: seconds between pieces of 64 KiB.
        ranges: whether ranges are honoured.
        redirects: path -> where it leads.
        status: path -> status of an answer without content.
        headers: more headers of every answer.
        open: cleared, the last bytes of every body are kept back.
        busy: so many requests are answered 503.
        corrupt: whether a byte of every body is flipped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str | None]] = []
        self.cut, self.cuts, self.pause, self.ranges, self.corrupt = 0, 0, 0.0, True, False
        self.redirects: dict[str, str] = {}
        self.status: dict[str, int] = {}
        self.busy = 0
        self.open = threading.Event()
        self.open.set()
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> WeightsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path  # a proxy is asked for a whole URL
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        if path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[path])
            for name, value in self.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        file = self.folder / path.lstrip("/")
        status = self.status.get(path, 200 if file.is_file() else 404)
        if self.busy:
            self.busy, status = self.busy - 1, 503
        if status != 200:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = bytearray(file.read_bytes())
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if self.corrupt:
            body[len(body) // 2] ^= 1
        start = 0
        if self.ranges and asked and handler.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body) > 0:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", etag)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        self._send(handler, bytes(body[start:]))

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        end = len(body)
        if self.cut and self.cuts > 0:
            self.cuts -= 1
            end = min(end, self.cut)
            handler.close_connection = True
        try:
            for place in range(0, end, 1 << 16):
                handler.wfile.write(body[place : min(place + (1 << 16), end)])
                handler.wfile.flush()
                if self.pause:
                    time.sleep(self.pause)
                if place + (1 << 17) >= end:
                    self.open.wait(60)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
