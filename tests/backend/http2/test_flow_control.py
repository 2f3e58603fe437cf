"""Streams, windows and frame sizes within the server's limits; GOAWAY."""

import random
import time
from collections.abc import Callable

import pytest

from support.http2_peer import DONE, LIMIT, OK, Frame, Peer, answer, frame, number, outcome, still_works
from wsgiapp.backend.http2 import connection
from wsgiapp.backend.http2.errors import ConnectionLost, RequestNotProcessed
from wsgiapp.backend.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
)
from wsgiapp.backend.http2.stream import Answer


def test_no_more_streams_than_the_server_takes(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MAX_CONCURRENT_STREAMS=0)
    short = peer.ask(b"0", 0.02)
    callers = [peer.ask(str(i).encode()) for i in range(1, 6)]
    assert isinstance(outcome(short), TimeoutError)
    assert peer.hears_nothing()
    peer.set({MAX_CONCURRENT_STREAMS: 1})
    assert peer.hear_request() == (1, b"1")
    peer.say(answer(1))
    assert peer.hear_request() == (3, b"2")
    peer.set({MAX_CONCURRENT_STREAMS: 3})
    assert [peer.hear_request() for _ in range(2)] == [(5, b"3"), (7, b"4")]
    peer.set({MAX_CONCURRENT_STREAMS: 1})
    peer.say(answer(3) + answer(5))
    assert peer.hears_nothing()
    callers[3].kill(timeout=LIMIT)
    assert peer.hear(RST_STREAM).stream == 7
    assert peer.hear_request() == (9, b"5")
    peer.say(answer(9))
    assert [type(outcome(caller)).__name__ for caller in callers] == ["Answer"] * 3 + ["GreenletExit", "Answer"]


def test_a_streams_window(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW_SIZE=100)
    body = random.Random(2).randbytes(1000)
    caller = peer.ask(body)
    stream = peer.hear(HEADERS).stream
    assert peer.hear(DATA).payload + peer.hear(DATA).payload == body[:100]
    assert peer.hears_nothing()
    peer.set({INITIAL_WINDOW_SIZE: 0})  # the stream's window is -100 now (RFC 9113, 6.9.2)
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(100)))
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(1)))
    assert peer.hear(DATA) == Frame(DATA, 0, stream, body[100:101])
    assert peer.hears_nothing()
    peer.set({INITIAL_WINDOW_SIZE: 99})
    assert peer.hear(DATA).payload == body[101:200]
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(1000)))  # of the connection, which is not what lacks
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(800)))
    assert peer.hear_body(stream) == body[200:]
    peer.say(answer(stream))
    assert isinstance(outcome(caller), Answer)


def test_the_connections_window_and_frames_of_the_size_that_the_server_takes(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW_SIZE=2**31 - 1, MAX_FRAME_SIZE=20_000)
    body = random.Random(3).randbytes(200_000)
    caller = peer.ask(body)
    stream = peer.hear(HEADERS).stream
    heard = b""
    while len(heard) < 65_535:
        piece = peer.hear(DATA)
        assert len(piece.payload) <= 20_000 and not piece.flags
        heard += piece.payload
    assert heard == body[:65_535]
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(200_000 - 65_535 - 1)))
    while len(heard) < 199_999:
        heard += peer.hear(DATA).payload
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(1)))
    assert heard + peer.hear_body(stream) == body
    peer.say(answer(stream))
    assert isinstance(outcome(caller), Answer)


def test_a_small_call_need_not_wait_for_a_large_one(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW_SIZE=2**31 - 1)
    large = peer.ask(bytes(10**6))
    heard = 0
    while heard < 65_535:
        heard += len(peer.hear(DATA).payload)
    small = peer.ask(bytes(3000))
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(20_000)))
    while not (piece := peer.hear(DATA)).flags & END_STREAM:
        pass
    peer.say(answer(piece.stream))
    assert isinstance(outcome(small), Answer)
    assert not large.ready()


def test_requests_that_the_socket_does_not_take_are_not_kept_after_their_callers(peer: Peer) -> None:
    peer.set({INITIAL_WINDOW_SIZE: 2**31 - 1})
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(2**30)))
    assert still_works(peer)
    callers = [peer.ask(bytes(10**6), 0.05) for _ in range(50)]
    assert {type(outcome(caller)) for caller in callers} == {TimeoutError}
    assert sum(map(len, peer.connection._outbox.buffers)) < 2**20
    peer.connection.close()
    assert peer.hear(HEADERS).stream == 3
    with pytest.raises(EOFError):  # the others were never begun
        peer.hear(HEADERS)


def test_the_windows_of_what_is_received_count_late_frames_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_WINDOW_SIZE", 100_000)
    peer = Peer()
    late = peer.ask(b"", 0.001)
    caller = peer.ask()
    assert peer.hear_request()[0] == 1 and peer.hear_request()[0] == 3
    assert isinstance(outcome(late), TimeoutError)
    assert peer.hear(RST_STREAM).stream == 1
    peer.say(frame(HEADERS, END_HEADERS, 3, OK))
    peer.say(frame(DATA, 0, 1, bytes(30_000)) + frame(DATA, PADDED, 3, b"\x09" + bytes(19_999)))
    assert peer.hears_nothing()
    peer.say(frame(DATA, PADDED, 1, b"\x00"))
    assert peer.hear(WINDOW_UPDATE).payload == number(100_000 - 65_535), "said first of all"
    assert peer.hear(WINDOW_UPDATE) == Frame(WINDOW_UPDATE, 0, 0, number(50_001))
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, 3, DONE))
    assert len(outcome(caller).body) == 19_990
    peer.close()


# A server that goes.


def test_a_server_goes_in_two_steps(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask(), peer.ask()]
    assert [peer.hear_request()[0] for _ in callers] == [1, 3, 5]
    peer.say(frame(GOAWAY, 0, 0, number(2**31 - 1) + number(0) + b"max_age") + answer(1))
    assert isinstance(outcome(callers[0]), Answer)
    assert not peer.connection.takes_requests
    with pytest.raises(ConnectionLost, match="the server closes the connection with GOAWAY"):
        peer.connection.request(b"", (), time.monotonic() + 1)
    peer.say(frame(GOAWAY, 0, 0, number(2**31 + 3) + number(0)))  # the first bit means nothing
    assert isinstance(outcome(callers[2]), RequestNotProcessed)
    assert not callers[1].ready()
    peer.say(answer(3, b"the last one"))
    assert outcome(callers[1]).body == b"the last one"
    assert peer.is_left()


def test_a_server_goes_while_some_wait_for_room_and_the_last_is_cancelled(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MAX_CONCURRENT_STREAMS=1)
    caller, waiting = peer.ask(), peer.ask()
    assert peer.hear_request()[0] == 1
    peer.say(frame(GOAWAY, 0, 0, number(1) + number(11) + b"too_many_pings"))
    assert isinstance(unserved := outcome(waiting), RequestNotProcessed)
    assert str(unserved) == "the server closes the connection with error code 0xb: too_many_pings"
    caller.kill(timeout=LIMIT)
    assert peer.is_left()


def test_streams_run_out(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer.connection, "_next_stream", 2**31 - 1)
    caller = peer.ask()
    assert peer.hear_request() == (2**31 - 1, b"")
    assert not peer.connection.takes_requests
    peer.say(answer(2**31 - 1))
    assert isinstance(outcome(caller), Answer)
    assert peer.is_left()
