"""Logs: one line an event, as JSON or as text, each with the request and the job it belongs to.

What may not be in a log is taken out here, whoever wrote the record: bytes become their length, and API keys, webhook
secrets, bearer tokens and passwords in URLs become "[redacted]".
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any, Literal

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

_SECRETS = re.compile(
    r"(?P<bearer>\bbearer\s+)\S+"
    r"|\bplk_[A-Za-z0-9_-]{8,}"
    r"|\bwhsec_[A-Za-z0-9+/=_-]{8,}"
    r"|(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@",
    re.IGNORECASE,
)
_LONGEST = 8192
"""Characters of one text; a traceback of 60 frames fits."""
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


@contextmanager
def bound(*, request: str | None = None, job: str | None = None) -> Iterator[None]:
    """Name the request or the job that everything logged inside belongs to."""
    tokens = [(v, v.set(value)) for v, value in ((request_id, request), (job_id, job)) if value is not None]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def redact(text: str) -> str:
    """The text without secrets, cut to a bounded length."""
    text = _SECRETS.sub(lambda m: f"{m['bearer'] or m['scheme'] or ''}[redacted]", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


class _Formatter(logging.Formatter):
    def event(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record as JSON-ready fields, cleaned."""
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(a) for a in record.args)
        elif isinstance(record.args, Mapping):
            record.args = {k: _bare(v) for k, v in record.args.items()}
        if not isinstance(record.msg, str):
            record.msg = str(_bare(record.msg))
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name, variable in (("request_id", request_id), ("job_id", job_id)):
            if variable.get():
                fields[name] = variable.get()
        fields |= {k: _clean(v) for k, v in vars(record).items() if k not in _OWN and not k.startswith("_")}
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        return fields


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.event(record), ensure_ascii=False, default=str)


class TextFormatter(_Formatter):
    """For a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.event(record)
        head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('logger')}: {fields.pop('message')}"
        trouble = fields.pop("exception", None)
        # A line break inside a value would let a client forge a line of the log.
        line = " ".join([head.replace("\n", "\\n"), *(f"{k}={str(v)!r}" for k, v in fields.items())])
        return f"{line}\n{trouble}" if trouble else line


def configure(level: str = "info", style: Literal["json", "text"] = "json", stream: IO[str] | None = None) -> None:
    """Send everything that is logged to one stream (standard error by default), through one formatter.

    uvicorn's access log is switched off: it prints query strings. `service.protection.middleware` writes ours.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    # These tell of every connection, every chunk they read and every plug-in they have.
    for name in ("alembic", "httpcore", "PIL", "pyvips", "asyncio", "multipart", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _bare(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray, memoryview)) else value


def _clean(value: Any) -> Any:
    value = _bare(value)
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float)) else redact(str(value))
