"""`Peer`: a scripted HTTP/2 server at the other end of a socket pair, and the client's connection to it."""

import socket
import struct
import time
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

import gevent
from gevent import socket as gevent_socket
from hpack import Decoder

from wsgiapp.backend.http2 import connection
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.errors import ConnectionLost, MessageTooLarge, StreamReset
from wsgiapp.backend.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    encode_fields,
)
from wsgiapp.backend.http2.stream import Answer

LIMIT = 20.0
MAX_BYTES = 100_000
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
    """The invalid SETTINGS_MAX_FRAME_SIZE a whole answer."""
    return (
        frame(HEADERS, END_HEADERS, stream, OK)
        + frame(DATA, 0, stream, body)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, status)
    )


class Peer:
    """The other end of a connection, which says and hears what a test tells it to."""

    def __init__(self, **settings: int) -> None:
        near, far = socket.socketpair()
        self.connection = Connection(near, MAX_BYTES)
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


def still_works(peer: Peer) -> bool:
    caller = peer.ask(b"another")
    stream, body = peer.hear_request()
    peer.say(answer(stream, b"its own"))
    return body == b"another" and outcome(caller).body == b"its own"


def request(connection: Connection, body: bytes = b"", seconds: float = LIMIT) -> Answer | BaseException:
    """What a call returns or raises."""
    try:
        return connection.request(encode_fields(FIELDS), (b"", body[:5], body[5:]), time.monotonic() + seconds)
    except (ConnectionLost, StreamReset, MessageTooLarge, TimeoutError) as exc:
        return exc


def outcome(caller: gevent.Greenlet) -> Any:
    return caller.get(timeout=LIMIT)


# What is said.
