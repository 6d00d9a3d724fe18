"""UUIDv7 (RFC 9562, section 5.7): identifiers that sort by the time they were made and cannot be guessed."""

from __future__ import annotations

import secrets
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def uuid7() -> str:
    """A new UUIDv7 in its canonical form; within a process each is greater than the one before.

    48 bits of milliseconds, 12 bits of their fraction (method 3 of section 6.2), 62 random bits.
    """
    global _last
    with _lock:
        ticks = max((time.time_ns() << 12) // 1_000_000, _last + 1)
        _last = ticks
    value = ((ticks >> 12) & (2**48 - 1)) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def is_uuid(text: str) -> bool:
    """Whether a string is a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
