"""Deadlines, and callers that are cancelled."""

import time
from collections.abc import Callable

import gevent
import pytest

from support.http2_peer import LIMIT, Frame, Peer, answer, frame, number, outcome, request, still_works
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    WINDOW_UPDATE,
)
from wsgiapp.backend.http2.stream import Answer

# Callers that are cancelled.


def test_a_deadline_passes(peer: Peer) -> None:
    other = peer.ask()
    started = time.monotonic()
    caller = peer.ask(b"body", 0.05)
    assert peer.hear_request()[0] == 1 and peer.hear_request()[0] == 3
    assert isinstance(outcome(caller), TimeoutError)
    assert 0.05 <= time.monotonic() - started < 5
    assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, 3, number(CANCEL))
    late = [answer(3, b"late"), frame(WINDOW_UPDATE, 0, 3, number(5)), frame(RST_STREAM, 0, 3, number(0))]
    peer.say(b"".join(late) + frame(HEADERS, END_HEADERS, 3, b"\xbe") + answer(1, b"in time"))
    assert outcome(other).body == b"in time"
    assert still_works(peer)


def test_a_loop_that_was_busy_does_not_shorten_a_deadline(peer: Peer) -> None:
    caller = gevent.spawn(_ask_after_work, peer.connection, 0.5)
    stream, _ = peer.hear_request()
    peer.say(answer(stream))
    assert isinstance(outcome(caller), Answer)


def _ask_after_work(connection: Connection, seconds: float) -> Answer | BaseException:
    gevent.sleep(0.001)
    time.sleep(1.2 * seconds)  # work that blocks the loop, whose clock stands still meanwhile
    return request(connection, b"", seconds)


@pytest.mark.parametrize("moment", ["waiting for room", "in the middle of the body", "waiting for the answer"])
@pytest.mark.parametrize("killed", [True, False])
def test_a_caller_is_cancelled(make_peer: Callable[..., Peer], moment: str, killed: bool) -> None:
    peer = make_peer(INITIAL_WINDOW_SIZE=10, MAX_CONCURRENT_STREAMS=2)
    other, before = peer.ask(b"other"), peer.ask(b"before")
    assert peer.hear_request()[1] == b"other" and peer.hear_request()[1] == b"before"
    if moment != "waiting for room":
        peer.say(answer(3))
        assert outcome(before).body == b""
    body = b"ten bytes." if moment == "waiting for the answer" else b"a body of more than ten bytes"
    caller = gevent.spawn(_within, 0 if killed else 0.02, peer.connection, body)
    gevent.sleep(0)
    if moment != "waiting for room":
        assert peer.hear(HEADERS).stream == 5
        assert peer.hear(DATA).payload + peer.hear(DATA).payload == body[:10]
    if killed:
        caller.kill(timeout=LIMIT)
    assert isinstance(outcome(caller), gevent.GreenletExit if killed else gevent.Timeout)
    if moment == "waiting for room":
        assert peer.hears_nothing()
        peer.say(answer(3))
    else:
        assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, 5, number(CANCEL))
    peer.set({INITIAL_WINDOW_SIZE: 1000})
    assert still_works(peer)
    peer.say(answer(1, b"other"))
    assert outcome(other).body == b"other"
    assert not peer.connection._streams and not peer.connection._unopened


def _within(seconds: float, connection: Connection, body: bytes) -> Answer | BaseException:
    try:
        with gevent.Timeout(seconds or None):
            return request(connection, body)
    except gevent.Timeout as exc:
        return exc


def test_a_caller_is_killed_between_its_answer_and_its_turn(peer: Peer) -> None:
    caller = peer.ask()
    stream, _ = peer.hear_request()
    caller.kill(block=False)
    peer.connection._finish(peer.connection._streams[stream], Answer({}, b"", {}))
    assert isinstance(outcome(caller), gevent.GreenletExit)
    assert peer.hears_nothing()
    assert still_works(peer)


# Limits.
