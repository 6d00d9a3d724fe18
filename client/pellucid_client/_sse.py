"""Server-sent events, decoded without a connection.

Follows the HTML standard's "Interpreting an event stream": lines end in CR LF, LF or CR, a chunk may end anywhere, a
byte order mark is skipped, an event whose end has not come is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid_client._errors import APIConnectionError

#: A preview of a 50-megapixel picture is a small JPEG; nothing honest comes near this many bytes.
LONGEST_EVENT = 4 * 2**20


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream.

    Attributes:
        event: its type; "message" when the server gave none.
        data: its lines joined.
        id: the last id seen so far, "" before the first.
    """

    event: str
    data: str
    id: str


class EventDecoder:
    """Bytes in, events out.

    Args:
        last_event_id: of the stream that this one continues.

    Attributes:
        last_event_id: of what has come so far.
        retry: milliseconds that the server asks to wait before connecting again; None when it does not.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._rest = b""
        self._first = True
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that this chunk completes.

        Raises:
            APIConnectionError: an event without end.
        """
        buffer = self._rest + chunk
        if self._first and len(buffer) >= 3:
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        # A CR at the end may be half of CR LF.
        held = buffer[-1:] if buffer.endswith(b"\r") else b""
        lines = (buffer[: len(buffer) - len(held)]).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        if self._size + len(self._rest) > LONGEST_EVENT:
            raise APIConnectionError(f"an event of more than {LONGEST_EVENT} bytes: this is no stream of job events")
        events = (self._line(line.decode("utf-8", "replace")) for line in lines)
        return [event for event in events if event is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return None

    def _complete(self) -> ServerSentEvent | None:
        event = None
        if self._data:
            event = ServerSentEvent(self._event or "message", "\n".join(self._data), self.last_event_id)
        self._event, self._data, self._size = "", [], 0
        return event
