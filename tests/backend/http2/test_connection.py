"""The HTTP/2 connection against a server whose every frame a test writes, and reads, itself."""

import gc
import random
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import gevent
import pytest
from gevent import socket as gevent_socket
from hpack import Decoder, Encoder

from wsgiapp.backend.http2 import connection
from wsgiapp.backend.http2.connection import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MOST_STREAMS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    Answer,
    Connection,
    Lost,
    Reset,
    TooLong,
    Unserved,
    decode_fields,
    encode_fields,
)

LIMIT = 20.0
MOST_BYTES = 100_000
FIELDS = {":method": "POST", ":path": "/x"}
OK = encode_fields({":status": "200"})
DONE = encode_fields({"grpc-status": "0"})
PRIORITY_FRAME, ALTERNATIVE_SERVICE = 2, 10  # of which the client knows nothing


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def answer(stream: int, body: bytes = b"", status: bytes = DONE) -> bytes:
    """The frames of a whole answer."""
    return (
        frame(HEADERS, END_HEADERS, stream, OK)
        + frame(DATA, 0, stream, body)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, status)
    )


class Peer:
    """The other end of a connection, which says and hears what a test tells it to."""

    def __init__(self, **settings: int) -> None:
        near, far = socket.socketpair()
        self.connection = Connection(near, MOST_BYTES)
        self.socket = gevent_socket.socket(fileno=far.detach())
        self.socket.settimeout(LIMIT)
        self._heard = b""
        self._kept: list[Frame] = []
        self.greeted = b""
        self.set({getattr(connection, name): value for name, value in settings.items()})

    def set(self, settings: Mapping[int, int]) -> None:
        self.say(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *setting) for setting in settings.items())))

    def ask(self, body: bytes = b"", seconds: float = LIMIT) -> gevent.Greenlet:
        """A caller, who waits already."""
        caller = gevent.spawn(request, self.connection, body, seconds)
        gevent.sleep(0)
        return caller

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear_bytes(self, size: int) -> bytes:
        while len(self._heard) < size:
            more = self.socket.recv(2**16)
            if not more:
                raise EOFError
            self._heard += more
        heard, self._heard = self._heard[:size], self._heard[size:]
        return heard

    def hear(self, *kinds: int, stream: int | None = None) -> Frame:
        """The next frame, of these kinds, and of a stream; others are kept for later."""
        if not self.greeted:
            self.greeted = self.hear_bytes(len(PREFACE))
        for at in count():
            if at == len(self._kept):
                head = self.hear_bytes(9)
                payload = self.hear_bytes(int.from_bytes(head[:3], "big"))
                self._kept.append(Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload))
            if self._kept[at].kind in (kinds or range(256)) and stream in (None, self._kept[at].stream):
                return self._kept.pop(at)
        raise AssertionError

    def hear_request(self) -> tuple[int, bytes]:
        """A stream's number, and its whole body."""
        head = self.hear(HEADERS)
        assert dict(Decoder().decode(head.payload)) == FIELDS
        return head.stream, b"" if head.flags & END_STREAM else self.hear_body(head.stream)

    def hear_body(self, stream: int) -> bytes:
        body = b""
        while True:
            piece = self.hear(DATA, stream=stream)
            body += piece.payload
            if piece.flags & END_STREAM:
                return body

    def hears_nothing(self) -> bool:
        """Whether all has been heard that the client had to say, but for the answer to this ping."""
        self.say(frame(PING, 0, 0, b"anybody?"))
        return self.hear(PING, HEADERS, DATA, RST_STREAM) == Frame(PING, ACK, 0, b"anybody?")

    def is_left(self) -> bool:
        """Whether the client has closed the connection; what it said before is lost."""
        try:
            while self.socket.recv(2**16):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.connection.close()
        self.socket.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Peers with settings."""
    made: list[Peer] = []

    def make(**settings: int) -> Peer:
        made.append(Peer(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def still_works(peer: Peer) -> bool:
    caller = peer.ask(b"another")
    stream, body = peer.hear_request()
    peer.say(answer(stream, b"its own"))
    return body == b"another" and outcome(caller).body == b"its own"


def request(connection: Connection, body: bytes = b"", seconds: float = LIMIT) -> Answer | BaseException:
    """What a call returns or raises."""
    try:
        return connection.request(encode_fields(FIELDS), (b"", body[:5], body[5:]), time.monotonic() + seconds)
    except (Lost, Reset, TooLong, TimeoutError) as exc:
        return exc


def outcome(caller: gevent.Greenlet) -> Any:
    return caller.get(timeout=LIMIT)


# What is said.


def test_the_first_words() -> None:
    peer = Peer()
    settings = peer.hear()
    assert peer.greeted == PREFACE
    assert settings[:3] == (SETTINGS, 0, 0)
    said = dict(struct.iter_unpack(">HL", settings.payload))
    assert said == {TABLE_SIZE: 0, connection.ENABLE_PUSH: 0, INITIAL_WINDOW: 2**31 - 1, FRAME_SIZE: 2**20}
    assert peer.hear() == Frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1 - 65_535))
    gevent.sleep(0)
    assert peer.hear() == Frame(SETTINGS, ACK, 0, b"")
    peer.say(frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"nobody's") + frame(PING, 0, 0, b"12345678"))
    assert peer.hear() == Frame(PING, ACK, 0, b"12345678")
    peer.close()


def test_a_request_waits_for_the_servers_settings_and_is_said_with_one_call() -> None:
    near, far = socket.socketpair()
    connection = Connection(near, MOST_BYTES)
    caller = gevent.spawn(request, connection, b"body")
    gevent.sleep(0)
    assert HEADERS not in {each.kind for each in frames(far.recv(2**16)[len(PREFACE) :])}
    far.sendall(frame(SETTINGS, 0, 0, struct.pack(">HL", MOST_STREAMS, 100)))
    while not (heard := _received(far)):
        gevent.sleep(0.001)
    assert [each.kind for each in frames(heard)] == [SETTINGS, HEADERS, DATA]
    connection.close()
    assert isinstance(outcome(caller), Lost)
    far.close()


def _received(far: socket.socket) -> bytes:
    try:
        return far.recv(2**16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def frames(data: bytes) -> Iterator[Frame]:
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        yield Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end])
        data = data[end:]


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 254, 255, 256, 16_383, 16_384, 16_511, 16_512, 60_000])
def test_fields_of_any_length(size: int) -> None:
    fields = {"name": "v" * size, "n" * max(1, size): "value"}
    block = encode_fields(fields)
    assert dict(Decoder(2**20).decode(block)) == fields
    if size < 30_000:
        assert decode_fields(block) == fields


# What is heard.


def test_many_ways_to_say_the_same(peer: Peer) -> None:
    """Padding, priorities, header blocks in pieces, interim answers, Huffman's code, frames nobody knows."""
    headers, trailers = {":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0", "x": "y"}
    head, tail = encode_fields(headers), encode_fields(trailers)
    huffman = Encoder()
    huffman.header_table_size = 0
    ends = END_HEADERS | END_STREAM

    def padded(payload: bytes, size: int = 7) -> bytes:
        return bytes([size]) + payload + bytes(size)

    ways: list[Callable[[int], bytes]] = [
        lambda n: frame(HEADERS, END_HEADERS, n, head) + frame(DATA, 0, n, b"body") + frame(HEADERS, ends, n, tail),
        lambda n: (
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, n, padded(b"\0\0\0\0\x10" + head, 255))
            + frame(DATA, PADDED, n, padded(b"body"))
            + frame(DATA, PADDED, n, padded(b"", 0))
            + frame(HEADERS, ends | PADDED, n, padded(tail))
        ),
        lambda n: (
            frame(HEADERS, 0, n, head[:3])
            + frame(CONTINUATION, 0, n, head[3:10])
            + frame(CONTINUATION, 0, n)
            + frame(CONTINUATION, END_HEADERS, n, head[10:])
            + frame(DATA, 0, n, b"body")
            + frame(HEADERS, END_STREAM, n, tail[:1])
            + frame(CONTINUATION, END_HEADERS, n, tail[1:])
        ),
        lambda n: (
            frame(HEADERS, END_HEADERS, n, encode_fields({":status": "100"}))
            + frame(HEADERS, END_HEADERS, n, encode_fields({":status": "103", "link": "x"}))
            + frame(PRIORITY_FRAME, 0, n, bytes(5))
            + frame(HEADERS, END_HEADERS, n, head)
            + frame(ALTERNATIVE_SERVICE, 0xFF, n, b"whatever")
            + frame(0xEE, 0xFF, 2**31 + 5, b"")
            + b"".join(frame(DATA, 0, n, bytes([byte])) + frame(DATA, 0, n) for byte in b"body")
            + frame(HEADERS, ends, n, tail)
        ),
        lambda n: (
            frame(HEADERS, END_HEADERS, n, b"\x20" + huffman.encode(list(headers.items())))
            + frame(SETTINGS, 0, 0, struct.pack(">HL", 0xABCD, 5))
            + frame(DATA, 0, n, b"body")
            + frame(HEADERS, ends, n, b"\x20\x20" + huffman.encode(list(trailers.items())))
        ),
    ]
    for way in ways:
        for piece in (10**6, 1):  # at a time
            caller = peer.ask(b"question")
            stream, body = peer.hear_request()
            assert body == b"question"
            said = way(stream)
            for at in range(0, len(said), piece):
                peer.say(said[at : at + piece])
                gevent.sleep(0)
            assert outcome(caller) == Answer(headers, b"body", trailers)


def test_an_answer_without_a_body_or_without_trailers(peer: Peer) -> None:
    caller = peer.ask()
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, peer.hear_request()[0], DONE))
    assert outcome(caller) == Answer({"grpc-status": "0"}, b"", {"grpc-status": "0"})
    caller = peer.ask()
    stream, _ = peer.hear_request()
    peer.say(frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, END_STREAM, stream, b"page"))
    assert outcome(caller) == Answer({":status": "200"}, b"page", {":status": "200"})


def test_answers_come_in_any_order(peer: Peer) -> None:
    callers = [peer.ask(str(i).encode()) for i in range(20)]
    asked = [peer.hear_request() for _ in callers]
    random.Random(1).shuffle(asked)
    for stream, _ in asked:
        peer.say(frame(HEADERS, END_HEADERS, stream, OK))
    for stream, body in reversed(asked):
        peer.say(frame(DATA, 0, stream, b"about " + body) + frame(HEADERS, END_HEADERS | END_STREAM, stream, DONE))
    assert [outcome(caller).body for caller in callers] == [f"about {i}".encode() for i in range(20)]


def test_a_value_that_is_no_text(peer: Peer) -> None:
    caller = peer.ask()
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, peer.hear_request()[0], b"\0\x01x\x02\xff\xfe"))
    assert outcome(caller).headers == {"x": "\N{REPLACEMENT CHARACTER}" * 2}


def test_an_answer_that_is_too_long_harms_no_other(peer: Peer) -> None:
    for part in (frame(DATA, 0, 0, bytes(MOST_BYTES // 2 + 1)) * 2, frame(HEADERS, END_HEADERS, 0, DONE * 3000)):
        other, caller = peer.ask(), peer.ask()
        (first, _), (second, _) = peer.hear_request(), peer.hear_request()
        addressed = b"".join(frame(each.kind, each.flags, second, each.payload) for each in frames(part))
        peer.say(frame(HEADERS, END_HEADERS, second, OK) + addressed + frame(DATA, 0, second, b"more"))
        assert isinstance(outcome(caller), TooLong)
        assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, second, number(CANCEL))
        peer.say(answer(first, bytes(MOST_BYTES)))
        assert len(outcome(other).body) == MOST_BYTES


def test_an_answer_before_the_request_was_sent(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW=3)
    caller = peer.ask(b"a long body")
    stream = peer.hear(HEADERS).stream
    assert peer.hear(DATA).payload == b"a l"
    peer.say(answer(stream, b"no, thank you"))
    assert outcome(caller).body == b"no, thank you"
    assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, stream, number(CANCEL))
    peer.set({INITIAL_WINDOW: 100})
    assert still_works(peer)


def test_a_reset_concerns_its_stream_alone(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask()]
    (first, _), (second, _) = peer.hear_request(), peer.hear_request()
    peer.say(frame(RST_STREAM, 0, first, number(2)) + frame(RST_STREAM, 0, 99, number(2)) + answer(second))
    assert isinstance(reset := outcome(callers[0]), Reset) and reset.code == 2
    assert outcome(callers[1]).body == b""


def test_a_stream_that_is_refused_is_opened_again_after_a_pause(peer: Peer) -> None:
    caller, impatient = peer.ask(b"question"), peer.ask(b"impatient", 0.05)
    assert peer.hear_request() == (1, b"question")
    started = time.monotonic()
    peer.say(frame(RST_STREAM, 0, 1, number(REFUSED)) + frame(RST_STREAM, 0, 3, number(REFUSED)))
    while peer.hear_request()[1] == b"impatient":
        pass
    assert time.monotonic() - started >= connection.REFUSED_PAUSE_SECONDS
    assert isinstance(outcome(impatient), TimeoutError)
    peer.say(answer(5) + answer(7))
    assert isinstance(outcome(caller), Answer)
    assert not peer.connection._streams and not peer.connection._unopened


def test_a_stream_that_is_refused_by_a_server_that_goes(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask()]
    assert [peer.hear_request()[0] for _ in callers] == [1, 3]
    peer.say(frame(RST_STREAM, 0, 1, number(REFUSED)) + frame(GOAWAY, 0, 0, number(3) + number(0)))
    peer.say(frame(RST_STREAM, 0, 3, number(REFUSED)))
    assert [type(outcome(caller)) for caller in callers] == [Unserved, Unserved]
    assert peer.is_left()


# What no server may say, and the end.

VIOLATIONS = {
    "a frame is too large": b"\x10\0\1" + bytes(6),
    "a header block is interrupted": frame(HEADERS, 0, 1, OK) + frame(DATA, 0, 1),
    "a continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, OK),
    "a continuation of nothing ": frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, END_HEADERS, 3, OK),
    "a header block is too large": frame(HEADERS, 0, 1, OK)
    + frame(CONTINUATION, 0, 1, bytes(2**20)) * 2
    + frame(CONTINUATION, END_HEADERS, 1),
    "a push, which was declined": frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + OK),
    "more padding than payload": frame(DATA, PADDED, 1, b"\x05none"),
    "more padding than payload ": frame(HEADERS, END_HEADERS | PADDED, 1),
    "an answer without headers": frame(DATA, END_STREAM, 1, b"body"),
    "settings of a wrong size": frame(SETTINGS, 0, 0, bytes(5)),
    "frames of 16383 bytes": frame(SETTINGS, 0, 0, struct.pack(">HL", FRAME_SIZE, 16_383)),
    "frames of 16777216 bytes": frame(SETTINGS, 0, 0, struct.pack(">HL", FRAME_SIZE, 2**24)),
    "a window is opened too far": frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW, 2**31)),
    "a window is opened too far ": frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)),
    "a window is opened too far  ": frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1)),
    "a window is opened too far   ": frame(WINDOW_UPDATE, 0, 1, number(2**30))
    + frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW, 2**30 + 65_535)),
    "a window is opened by nothing": frame(WINDOW_UPDATE, 0, 0, number(0)),
    "a window is opened by nothing ": frame(WINDOW_UPDATE, 0, 1, number(2**31)),
    "a frame of a wrong size": frame(WINDOW_UPDATE, 0, 0, b"abc"),
    "a frame of a wrong size ": frame(RST_STREAM, 0, 1, b""),
    "a GOAWAY of a wrong size": frame(GOAWAY, 0, 0, b"abc"),
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
        assert isinstance(lost := outcome(caller), Lost)
        assert str(lost).startswith(f"the server does not speak HTTP/2 rightly: {reason.strip()}")
    assert not peer.connection.takes_requests
    assert peer.is_left()
    with pytest.raises(Lost, match="does not speak HTTP/2"):
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
    connection = Connection(near, MOST_BYTES)
    caller = gevent.spawn(request, connection)
    far.sendall(words)
    assert str(outcome(caller)).endswith("rightly: it does not begin with its settings")
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
        connection = Connection(near, MOST_BYTES)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        caller = gevent.spawn(request, connection)
        gevent.sleep(0)
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        assert str(outcome(caller)) == "Connection reset by peer"


def test_closing_wakes_everybody_once(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MOST_STREAMS=2)
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
    assert isinstance(outcome(caller), Lost)
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err
    gevent.sleep(0.001)  # the loop turns on


# Callers that give up.


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
def test_a_caller_gives_up(make_peer: Callable[..., Peer], moment: str, killed: bool) -> None:
    peer = make_peer(INITIAL_WINDOW=10, MOST_STREAMS=2)
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
    peer.set({INITIAL_WINDOW: 1000})
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


def test_no_more_streams_than_the_server_takes(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MOST_STREAMS=0)
    impatient = peer.ask(b"0", 0.02)
    callers = [peer.ask(str(i).encode()) for i in range(1, 6)]
    assert isinstance(outcome(impatient), TimeoutError)
    assert peer.hears_nothing()
    peer.set({MOST_STREAMS: 1})
    assert peer.hear_request() == (1, b"1")
    peer.say(answer(1))
    assert peer.hear_request() == (3, b"2")
    peer.set({MOST_STREAMS: 3})
    assert [peer.hear_request() for _ in range(2)] == [(5, b"3"), (7, b"4")]
    peer.set({MOST_STREAMS: 1})
    peer.say(answer(3) + answer(5))
    assert peer.hears_nothing()
    callers[3].kill(timeout=LIMIT)
    assert peer.hear(RST_STREAM).stream == 7
    assert peer.hear_request() == (9, b"5")
    peer.say(answer(9))
    assert [type(outcome(caller)).__name__ for caller in callers] == ["Answer"] * 3 + ["GreenletExit", "Answer"]


def test_a_streams_window(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW=100)
    body = random.Random(2).randbytes(1000)
    caller = peer.ask(body)
    stream = peer.hear(HEADERS).stream
    assert peer.hear(DATA).payload + peer.hear(DATA).payload == body[:100]
    assert peer.hears_nothing()
    peer.set({INITIAL_WINDOW: 0})  # the stream's window is -100 now (RFC 9113, 6.9.2)
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(100)))
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(1)))
    assert peer.hear(DATA) == Frame(DATA, 0, stream, body[100:101])
    assert peer.hears_nothing()
    peer.set({INITIAL_WINDOW: 99})
    assert peer.hear(DATA).payload == body[101:200]
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(1000)))  # of the connection, which is not what lacks
    assert peer.hears_nothing()
    peer.say(frame(WINDOW_UPDATE, 0, stream, number(800)))
    assert peer.hear_body(stream) == body[200:]
    peer.say(answer(stream))
    assert isinstance(outcome(caller), Answer)


def test_the_connections_window_and_frames_of_the_size_that_the_server_takes(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW=2**31 - 1, FRAME_SIZE=20_000)
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
    peer = make_peer(INITIAL_WINDOW=2**31 - 1)
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
    peer.set({INITIAL_WINDOW: 2**31 - 1})
    peer.say(frame(WINDOW_UPDATE, 0, 0, number(2**30)))
    assert still_works(peer)
    callers = [peer.ask(bytes(10**6), 0.05) for _ in range(50)]
    assert {type(outcome(caller)) for caller in callers} == {TimeoutError}
    assert sum(map(len, peer.connection._outbox)) < 2**20
    peer.connection.close()
    assert peer.hear(HEADERS).stream == 3
    with pytest.raises(EOFError):  # the others were never begun
        peer.hear(HEADERS)


def test_the_windows_of_what_is_received_count_late_frames_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LARGEST_WINDOW", 100_000)
    peer = Peer()
    late = peer.ask(b"", 0.001)
    caller = peer.ask()
    assert peer.hear_request()[0] == 1 and peer.hear_request()[0] == 3
    assert isinstance(outcome(late), TimeoutError)
    assert peer.hear(RST_STREAM).stream == 1
    peer.say(frame(DATA, 0, 1, bytes(30_000)) + frame(DATA, PADDED, 3, b"\x09" + bytes(19_999)))
    assert peer.hears_nothing()
    peer.say(frame(DATA, PADDED, 1, b"\x00"))
    assert peer.hear(WINDOW_UPDATE).payload == number(100_000 - 65_535), "said first of all"
    assert peer.hear(WINDOW_UPDATE) == Frame(WINDOW_UPDATE, 0, 0, number(50_001))
    peer.say(answer(3))
    assert len(outcome(caller).body) == 19_990
    peer.close()


# A server that goes.


def test_a_server_goes_in_two_steps(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask(), peer.ask()]
    assert [peer.hear_request()[0] for _ in callers] == [1, 3, 5]
    peer.say(frame(GOAWAY, 0, 0, number(2**31 - 1) + number(0) + b"max_age") + answer(1))
    assert isinstance(outcome(callers[0]), Answer)
    assert not peer.connection.takes_requests
    with pytest.raises(Lost, match="the server ends the connection"):
        peer.connection.request(b"", (), time.monotonic() + 1)
    peer.say(frame(GOAWAY, 0, 0, number(2**31 + 3) + number(0)))  # the first bit means nothing
    assert isinstance(outcome(callers[2]), Unserved)
    assert not callers[1].ready()
    peer.say(answer(3, b"the last one"))
    assert outcome(callers[1]).body == b"the last one"
    assert peer.is_left()


def test_a_server_goes_while_some_wait_for_room_and_the_last_gives_up(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(MOST_STREAMS=1)
    caller, waiting = peer.ask(), peer.ask()
    assert peer.hear_request()[0] == 1
    peer.say(frame(GOAWAY, 0, 0, number(1) + number(11) + b"too_many_pings"))
    assert isinstance(unserved := outcome(waiting), Unserved)
    assert str(unserved) == "the server ends the connection with code 11: too_many_pings"
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
