"""Floods (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316) end the connection; a busy server's frames do not."""

import gc
import struct
import tracemalloc
from collections.abc import Callable, Iterator

import gevent
import pytest

from support.http2_peer import DONE, OK, PRIORITY_FRAME, Frame, Peer, answer, frame, number, outcome, still_works
from wsgiapp.backend.http2.connection import MAX_CONTINUATIONS, MAX_REASON_BYTES
from wsgiapp.backend.http2.errors import ConnectionLost, MessageTooLarge, StreamReset
from wsgiapp.backend.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode_fields,
)
from wsgiapp.backend.http2.glitches import MAX_GLITCHES
from wsgiapp.backend.http2.outbox import MAX_UNSENT_ACKS

ENHANCE_YOUR_CALM = number(0xB)
BEGUN = frame(HEADERS, END_HEADERS, 1, OK)  # an answer to the first call
FLOODS = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "PING that nobody asked for": frame(PING, ACK, 0, bytes(8)),
    "SETTINGS": frame(SETTINGS, 0, 0),
    "SETTINGS that say something": frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, 1) * 32),
    "SETTINGS that nobody asked for": frame(SETTINGS, ACK, 0),
    "RST_STREAM": frame(RST_STREAM, 0, 99, number(8)),
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, number(1)),
    "WINDOW_UPDATE of a stream": frame(WINDOW_UPDATE, 0, 1, number(1)),
    "PRIORITY": frame(PRIORITY_FRAME, 0, 1, bytes(5)),
    "unknown frames": frame(0xEE, 0, 0, b"whatever"),
    "GOAWAY": frame(GOAWAY, 0, 0, number(2**31 - 1) + number(0)),
    "interim answers": frame(HEADERS, END_HEADERS, 1, encode_fields({":status": "103"})),
    "HEADERS of no stream": frame(HEADERS, END_HEADERS, 99, OK),
    "empty header fields": frame(HEADERS, END_HEADERS, 99, b"\0\0\0"),
    "empty DATA": frame(DATA, 0, 1),
    "DATA of one byte": frame(DATA, 0, 1, b"x"),
    "padding": frame(DATA, PADDED, 1, bytes([50]) + bytes(50)),
    "empty DATA of no stream": frame(DATA, 0, 99),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_ends_the_connection(peer: Peer, kind: str) -> None:
    caller = peer.ask()
    assert peer.hear_request()[0] == 1
    flood = gevent.spawn(say_until_it_is_over, peer, BEGUN, FLOODS[kind])
    lost = outcome(caller)
    assert isinstance(lost, ConnectionLost)
    # One that asks for an acknowledgement each may also find that nobody reads them.
    assert str(lost) in (
        "protocol error: too many frames that bring no call further",
        "protocol error: frames that ask for an answer, and nobody who reads it",
    )
    assert not peer.connection.takes_requests
    assert peer.hear(GOAWAY) == Frame(GOAWAY, 0, 0, number(0) + ENHANCE_YOUR_CALM)
    flood.join()


def say_until_it_is_over(peer: Peer, first: bytes, again: bytes) -> None:
    """A few more than are allowed."""
    try:
        peer.say(first)
        for _ in range(12):
            peer.say(again * (MAX_GLITCHES // 10))
    except OSError:  # it is
        pass


@pytest.mark.parametrize("ask", [frame(PING, 0, 0, bytes(8)), frame(SETTINGS, 0, 0)], ids=["PING", "SETTINGS"])
def test_what_asks_for_answers_that_it_does_not_read(peer: Peer, ask: bytes) -> None:
    """Also where all calls are answered in between, so that nothing else limits it."""
    callers = [peer.ask() for _ in range(300)]
    for _ in callers:
        peer.hear_request()
    for stream, caller in enumerate(callers):
        try:
            peer.say(ask * (MAX_GLITCHES // 2) + answer(1 + 2 * stream))
        except OSError:
            break
        end = outcome(caller)
        assert len(peer.connection._outbox.buffers) <= 2 * MAX_UNSENT_ACKS + 10
    assert stream > 0, "some is kept in the socket"
    assert "nobody who reads it" in str(end)


def test_a_header_block_in_crumbs(peer: Peer) -> None:
    caller = peer.ask()
    peer.hear_request()
    crumbs = frame(CONTINUATION, 0, 1, b"\0") * (MAX_CONTINUATIONS + 1)
    peer.say(frame(HEADERS, 0, 1, OK) + crumbs)
    assert isinstance(outcome(caller), ConnectionLost)
    assert peer.hear(GOAWAY).payload == number(0) + ENHANCE_YOUR_CALM


def test_a_header_list_over_the_limit_is_not_even_decoded(peer: Peer) -> None:
    other, caller = peer.ask(), peer.ask()
    first, second = peer.hear_request()[0], peer.hear_request()[0]
    peer.say(frame(HEADERS, END_HEADERS, second, b"\0\0\0" * 30_000))
    assert isinstance(outcome(caller), MessageTooLarge)
    peer.say(answer(first))
    assert outcome(other).body == b""


def test_a_stream_that_is_rejected_after_its_answer_began(peer: Peer) -> None:
    """Sent again, the call would get the old body in front of the new one."""
    caller = peer.ask()
    peer.hear_request()
    peer.say(BEGUN + frame(DATA, 0, 1, b"old") + frame(RST_STREAM, 0, 1, number(REFUSED_STREAM)))
    assert isinstance(reset := outcome(caller), StreamReset) and reset.code == REFUSED_STREAM
    assert still_works(peer)


def test_a_server_that_rejects_again_and_again(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgiapp.backend.http2.connection.REFUSED_STREAM_PAUSE_SECONDS", 0.0)
    peer.connection._refused_timer = peer.connection._loop.timer(0.0)
    caller = peer.ask()

    def reject() -> None:
        while True:
            peer.say(frame(RST_STREAM, 0, peer.hear(HEADERS).stream, number(REFUSED_STREAM)))

    rejecting = gevent.spawn(reject)
    assert "too many frames" in str(outcome(caller))
    rejecting.kill()


def test_a_long_farewell_is_cut(peer: Peer) -> None:
    caller = peer.ask()
    peer.hear_request()
    peer.say(frame(GOAWAY, 0, 0, number(0) + number(2) + b"x" * 100_000))
    assert len(str(outcome(caller))) < MAX_REASON_BYTES + 100


def test_late_answers_to_cancelled_calls_are_no_flood(peer: Peer) -> None:
    """A model that takes longer than the deadline: each call brings frames that nobody waits for."""
    for _ in range(MAX_GLITCHES):
        caller = peer.ask()
        late = peer.hear(HEADERS).stream
        caller.kill()
        peer.say(answer(late, b"too late"))
    assert still_works(peer)


def test_what_a_busy_server_needs_is_no_flood(make_peer: Callable[..., Peer]) -> None:
    """A window for each piece of a large body, a ping and windows for each of many small calls."""
    peer = make_peer(INITIAL_WINDOW_SIZE=0)
    caller = peer.ask(b"x" * 3_000_000)
    stream = peer.hear(HEADERS).stream
    received = 0
    while received < 3_000_000:
        peer.say(frame(WINDOW_UPDATE, 0, stream, number(2048)) + frame(WINDOW_UPDATE, 0, 0, number(2048)))
        received += len(peer.hear(DATA).payload)
    peer.say(answer(stream))
    assert outcome(caller).body == b""
    for _ in range(MAX_GLITCHES // 2):
        caller = peer.ask()
        stream = peer.hear(HEADERS).stream
        peer.say(frame(PING, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, number(5)) * 2 + answer(stream))
        assert outcome(caller).body == b""
        peer.hear(PING)


def test_time_forgives(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keep-alive ping every minute is no flood after a day."""
    caller = peer.ask()
    stream, _ = peer.hear_request()
    peer.say(FLOODS["WINDOW_UPDATE"] * (MAX_GLITCHES - 10))
    peer.connection._glitches._refilled_at -= 60.0
    peer.say(FLOODS["WINDOW_UPDATE"] * (MAX_GLITCHES - 10) + answer(stream))
    assert outcome(caller).body == b""


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_an_answer_in_small_pieces_takes_no_more_memory_than_a_few_of_it(peer: Peer, traced: None) -> None:
    caller = peer.ask()
    peer.hear_request()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    body = frame(DATA, 0, 1, bytes(64)) * (90_000 // 64)
    peer.say(BEGUN + body)
    assert peer.hears_nothing()
    assert tracemalloc.get_traced_memory()[0] - before < 4 * len(body)
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, DONE))
    assert len(outcome(caller).body) == 90_000 // 64 * 64
