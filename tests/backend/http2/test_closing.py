"""What ends a connection: protocol errors, its end, its closing."""

import gc
import random
import socket
import struct
import time
import weakref
from collections.abc import Callable

import gevent
import pytest

from support.http2_peer import MAX_BYTES, OK, Peer, answer, frame, number, outcome, request, still_works
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.errors import ConnectionLost, RequestNotProcessed
from wsgiapp.backend.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

# What no server may say, and the end.

VIOLATIONS = {
    "frame exceeds SETTINGS_MAX_FRAME_SIZE": b"\x10\0\1" + bytes(6),
    "header block interrupted by another frame": frame(HEADERS, 0, 1, OK) + frame(DATA, 0, 1),
    "CONTINUATION without HEADERS": frame(CONTINUATION, END_HEADERS, 1, OK),
    "CONTINUATION without HEADERS ": frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, END_HEADERS, 3, OK),
    "header block too large": frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, 0, 1, bytes(2**20)),
    "header block too large ": frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, 0, 1) * 65,
    "trailers without END_STREAM": frame(HEADERS, END_HEADERS, 1, OK) * 2,
    "PING frame of invalid size": frame(PING, 0, 0, bytes(9)),
    "too many settings in a frame": frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, 1) * 33),
    "more than two table size updates": frame(HEADERS, END_HEADERS, 1, b"\x20" * 3),
    "PUSH_PROMISE although SETTINGS_ENABLE_PUSH is 0": frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + OK),
    "padding exceeds the payload": frame(DATA, PADDED, 1, b"\x05none"),
    "padding exceeds the payload ": frame(HEADERS, END_HEADERS | PADDED, 1),
    "response without HEADERS": frame(DATA, END_STREAM, 1, b"body"),
    "SETTINGS frame of invalid size": frame(SETTINGS, 0, 0, bytes(5)),
    "invalid SETTINGS_MAX_FRAME_SIZE 16383": frame(SETTINGS, 0, 0, struct.pack(">HL", MAX_FRAME_SIZE, 16_383)),
    "invalid SETTINGS_MAX_FRAME_SIZE 16777216": frame(SETTINGS, 0, 0, struct.pack(">HL", MAX_FRAME_SIZE, 2**24)),
    "flow-control window over 2^31-1": frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, 2**31)),
    "flow-control window over 2^31-1 ": frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)),
    "flow-control window over 2^31-1  ": frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1)),
    "flow-control window over 2^31-1   ": frame(WINDOW_UPDATE, 0, 1, number(2**30))
    + frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, 2**30 + 65_535)),
    "WINDOW_UPDATE increment 0": frame(WINDOW_UPDATE, 0, 0, number(0)),
    "WINDOW_UPDATE increment 0 ": frame(WINDOW_UPDATE, 0, 1, number(2**31)),
    "invalid frame size": frame(WINDOW_UPDATE, 0, 0, b"abc"),
    "invalid frame size ": frame(RST_STREAM, 0, 1, b""),
    "GOAWAY frame of invalid size": frame(GOAWAY, 0, 0, b"abc"),
    "Invalid table index 62": frame(HEADERS, END_HEADERS, 1, b"\xbe"),  # of the table that was declined
    "Encoder exceeded max allowable table size": frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\x1f" + OK),
    "Truncated": frame(HEADERS, END_HEADERS, 1, OK[:-1]),
}


@pytest.mark.parametrize("reason", VIOLATIONS)
def test_what_no_server_may_say_ends_the_connection(peer: Peer, reason: str) -> None:
    callers = [peer.ask(b"body"), peer.ask()]
    assert peer.hear_request()[0] == 1
    peer.say(VIOLATIONS[reason])
    for caller in callers:
        assert isinstance(lost := outcome(caller), ConnectionLost)
        assert str(lost).startswith(f"protocol error: {reason.strip()}")
    assert not peer.connection.takes_requests
    assert peer.is_left()
    with pytest.raises(ConnectionLost, match="protocol error"):
        peer.connection.request(b"", (), time.monotonic() + 1)


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x4a\x00\x00\x00\x0a8.0.36\x00",  # MySQL
        frame(PING, 0, 0, bytes(8)),
        bytes(1000),
        random.Random(5).randbytes(10_000),
    ],
)
def test_a_server_of_another_kind(words: bytes) -> None:
    near, far = socket.socketpair()
    connection = Connection(near, MAX_BYTES)
    caller = gevent.spawn(request, connection)
    far.sendall(words)
    assert str(outcome(caller)).endswith("protocol error: the first frame is not SETTINGS")
    far.close()


@pytest.mark.parametrize("words", [b"", frame(DATA, 0, 1, b"body")[:-1], b"\x15\x03\x03\x00\x02\x02\x46"])
def test_the_end_also_in_the_middle_of_a_frame(peer: Peer, words: bytes) -> None:
    caller = peer.ask()
    peer.hear_request()
    peer.say(words)
    peer.socket.close()
    assert str(outcome(caller)) == "the server closed the connection"


def test_what_was_said_before_the_end_is_heard_also_where_nothing_can_be_said_any_more(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask()]
    assert [peer.hear_request()[0] for _ in callers] == [1, 3]
    peer.say(answer(1, b"the last one"))
    peer.socket.close()
    later = peer.ask()  # which the loop sends before it reads
    assert outcome(callers[0]).body == b"the last one"
    assert [str(outcome(caller)) for caller in (callers[1], later)] == ["the server closed the connection"] * 2


def test_a_connection_that_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        connection = Connection(near, MAX_BYTES)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        caller = gevent.spawn(request, connection)
        gevent.sleep(0)
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        assert str(outcome(caller)) == "Connection reset by peer"


def test_closing_wakes_everybody_once(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MAX_CONCURRENT_STREAMS=2)
    callers = [peer.ask(b"body") for _ in range(5)]
    peer.hear_request()
    callers[0].rawlink(lambda _: peer.connection.close("again"))
    peer.connection.close()
    peer.connection.close("and again")
    assert [str(outcome(caller)) for caller in callers] == ["the connection was closed"] * 5
    assert peer.is_left()


def test_nothing_keeps_a_closed_connection(peer: Peer) -> None:
    assert still_works(peer)
    connection = weakref.ref(peer.connection)
    peer.connection.close()
    del peer.connection
    gevent.sleep(0)
    gc.collect()
    assert connection() is None
    peer.connection = Peer().connection  # for the fixture


def test_a_failure_of_the_client_s_own_leaves_nobody_waiting(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(Connection._TAKE, PING, fail)  # type: ignore[index]
    caller = peer.ask()
    peer.say(frame(PING, 0, 0, bytes(8)))
    assert isinstance(outcome(caller), ConnectionLost)
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err
    gevent.sleep(0.001)  # the loop turns on


def test_a_goaway_ends_none_of_those_that_were_not_sent() -> None:
    """The connection closes with the first of them; all may be sent again."""
    peer = Peer(MAX_CONCURRENT_STREAMS=0)
    callers = [peer.ask() for _ in range(3)]
    still_waiting = gevent.spawn(peer.hear, SETTINGS)
    still_waiting.get(timeout=20)
    peer.say(frame(GOAWAY, 0, 0, number(2**31 - 1) + number(0)))
    assert [type(outcome(caller)) for caller in callers] == [RequestNotProcessed] * 3
