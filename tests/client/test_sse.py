from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pellucid_client import APIConnectionError
from pellucid_client._sse import LONGEST_EVENT, EventDecoder, ServerSentEvent

STREAM = (
    b"\xef\xbb\xbf: hello\n\nid: 1\nevent: queued\ndata: {}\n\n"
    b"id: 2\r\nevent: progress\r\ndata: one\r\ndata:two\r\ndata\r\nretry: 1500\r\n\r\n"
    b"event: empty\n\ndata: \xc3\xa9\rid\r\r\nid: 3\nid: bad\0\nretry: 1x\nunknown: field\ndata: last\n\ndata: cut"
)
EVENTS = [
    ServerSentEvent("queued", "{}", "1"),
    ServerSentEvent("progress", "one\ntwo\n", "2"),
    ServerSentEvent("message", "é", ""),
    ServerSentEvent("message", "last", "3"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_chunks_may_end_anywhere(cuts: list[int]) -> None:
    decoder, places = EventDecoder(), [0, *sorted(cuts), len(STREAM)]
    found = [event for a, b in itertools.pairwise(places) for event in decoder.feed(STREAM[a:b])]
    assert found == EVENTS
    assert (decoder.last_event_id, decoder.retry) == ("3", 1500)


def test_byte_by_byte() -> None:
    decoder = EventDecoder()
    assert [event for i in range(len(STREAM)) for event in decoder.feed(STREAM[i : i + 1])] == EVENTS


def test_a_continued_stream_knows_the_last_id() -> None:
    assert EventDecoder("41").feed(b"data: x\n\n") == [ServerSentEvent("message", "x", "41")]


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    EventDecoder().feed(data)


@pytest.mark.parametrize("line", [b"data: x", b"data: x\n"])
def test_an_event_without_end_is_refused(line: bytes) -> None:
    decoder = EventDecoder()
    chunk = line[:-1] + b"x" * 2**20 + line[-1:]
    with pytest.raises(APIConnectionError):
        for _ in range(LONGEST_EVENT // 2**20 + 1):
            decoder.feed(chunk)
